import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { build, tokenFor } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

t.test('session:ready is the first frame, even if events for the user arrive before it', async (t) => {
  const { app, url } = await build(t, { env: { FEATURES: 'auth,chat' } })
  const held = Promise.withResolvers<Record<string, unknown>>()
  app.hooks.on('session:greet', () => held.promise)
  const ws = new WebSocket(`${url.replace('http', 'ws')}/ws`, 'msab.v1', { headers: { authorization: `Bearer ${tokenFor(1)}` } })
  t.teardown(() => ws.terminate())
  const frames: string[] = []
  ws.on('message', (data: Buffer) => frames.push((JSON.parse(String(data)) as { type: string }).type))
  await once(ws, 'open')
  await until(() => app.sockets.size === 1)
  app.sockets.broadcast('feature:enabled', { name: 'chat' })
  await app.sockets.toUser(1, 'feature:disabled', { name: 'chat' })
  ws.send('no JSON')
  held.resolve({})
  await until(() => frames.length === 4)
  t.strictSame(frames.slice(0, 3), ['session:ready', 'feature:enabled', 'feature:disabled'])
  t.equal(frames[3], 'error')
})
