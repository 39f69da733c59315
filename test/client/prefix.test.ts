import t from 'tap'
import { RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { startNginx } from '../support/nginx.ts'

t.test('the client works below a path prefix', async (t) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '1' } })
  const { url } = await startNginx(t, [Number(new URL(server.url).port)], '/audio')
  for (const base of [url, `${url}/`, url.replace('http', 'ws'), `${url}/ws`, `${url}?room=r1`]) {
    const room = new RoomClient({ url: base, token: () => tokenFor(1), audio: false, connectTimeoutMs: 500 })
    t.teardown(() => room.close())
    t.match(await room.join('r1'), { self: { userId: 1 } }, base)
    const second = new RoomClient({ url: base, token: () => tokenFor(2), audio: false, connectTimeoutMs: 500 })
    await t.rejects(second.join('r1'), { code: 'OVERLOADED' }, 'the proxy passes the reason on')
    await new Promise<void>((resolve) => {
      server.app.hooks.on('session:close', () => resolve())
      room.close()
    })
  }
  const elsewhere = new RoomClient({ url: new URL(url).origin, token: () => tokenFor(1), audio: false, connectTimeoutMs: 500 })
  await t.rejects(elsewhere.join('r1'), { code: 'REFUSED', details: { status: 404 } })
})
