import t from 'tap'
import { build } from '../support/build.ts'
import { hlsClient } from '../support/hls.ts'
import { play, startCache } from '../support/hls-players.ts'

// Tests the cache configuration in docs/broadcast.md with a few players; players.long.ts uses a thousand.

t.test('nginx serves players from its cache, but fetches the key each time', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', BROADCAST_ENCRYPT: 'true' } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  await owner.ok('broadcast:start')
  await hlsClient(`${server.url}/hls/r1`).playlist('live.m3u8')
  const { url } = await startCache(t, [Number(new URL(server.url).port)])
  const { requests, cache, failures } = await play(`${url}/hls/r1`, { plain: 20, lowLatency: 10, seconds: 6 })
  t.strictSame(failures, [])
  const answered = (cache['HIT'] ?? 0) + (cache['UPDATING'] ?? 0)
  t.ok(answered > requests * 0.7, `${answered} of ${requests}: ${JSON.stringify(cache)}`)

  const answer = await fetch(`${url}/api/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ roomId: 'r1' }) })
  const { token } = await answer.json() as { token: string }
  for (let i = 0; i < 2; i++) {
    const key = await fetch(`${url}/hls/r1/key?token=${token}`)
    t.strictSame([key.status, (await key.bytes()).length, key.headers.get('x-cache')], [200, 16, 'MISS'])
  }
  t.match(await (await fetch(`${url}/hls/r1/index.m3u8?token=${token}`)).text(), `live.m3u8?token=${token}`)
})
