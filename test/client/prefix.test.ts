import t from 'tap'
import { RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { startNginx } from '../support/nginx.ts'
import { rejectionOf } from './watch.ts'

t.test('the client works below a path prefix', async (t) => {
  const server = await build(t, { env: { MAX_CONNECTIONS: '1' } })
  const { url } = await startNginx(t, [Number(new URL(server.url).port)], '/audio')
  for (const base of [url, `${url}/`, url.replace('http', 'ws'), `${url}/ws`, `${url}?room=r1`]) {
    const room = new RoomClient({ url: base, token: () => tokenFor(1), audio: false })
    t.teardown(() => room.close())
    t.match(await room.join('r1'), { self: { userId: 1 } }, base)
    t.match(await rejectionOf(t, { url: base, token: () => tokenFor(2) }), { code: 'OVERLOADED' }, 'the proxy passes the reason on')
    await new Promise<void>((resolve) => {
      server.app.hooks.on('session:close', () => resolve())
      room.close()
    })
  }
  t.match(await rejectionOf(t, { url: new URL(url).origin }), { code: 'REFUSED', details: { status: 404 } })
})
