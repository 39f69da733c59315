import t from 'tap'
import { adminKey, build, shortTimings, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { hlsClient, parsePlaylist } from '../../support/hls.ts'
import { buildMortal } from '../../support/mortal.ts'
import { stopwatch } from '../../support/pace.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Tests a broadcast that two servers serve. If the server that runs the broadcast dies, the other server takes over.

/** The root test of this file keeps its clients connected until the last test ends. */
const file = t
const REDIS_URL = await redisDatabase()
const optionsOf = (NODE_ID: string) => ({ env: { REDIS_URL, NODE_ID, FEATURES: 'auth,media,broadcast' }, timings: shortTimings })
const first = await buildMortal(t, optionsOf('first'))
const second = await build(t, optionsOf('second'))
const [firstUrl, secondUrl] = [first.url, second.url]
const owner = await connect(file, firstUrl, { token: tokenFor(1) })
// After a pause of the process, the servers treat their leases as lost and delay new rooms.
await until(async () => await owner.ok('room:join', { roomId: 'r1' }))
await owner.ok('broadcast:start')
const [ofFirst, ofSecond] = [firstUrl, secondUrl].map((url) => hlsClient(`${url}/hls/r1`)) as [ReturnType<typeof hlsClient>, ReturnType<typeof hlsClient>]

t.test('a server without members serves the same segments as the packaging server', async (t) => {
  await ofFirst.playlist('live.m3u8')
  const { last } = await ofSecond.playlist('live.m3u8')
  await ofSecond.playlist(`live.m3u8?_HLS_msn=${last + 1}&_HLS_part=0`)
  for (const codec of ['aac', 'opus']) {
    const [one, other] = [await ofFirst.get(`${codec}-${last}.m4s`), await ofSecond.get(`${codec}-${last}.m4s`)]
    t.strictSame([one.status, other.status], [200, 200])
    t.ok(one.body.equals(other.body))
    t.ok((await ofFirst.get(`${codec}-init.mp4`)).body.equals((await ofSecond.get(`${codec}-init.mp4`)).body))
  }
})

t.setTimeout(120_000)

t.test('another server takes over when one dies, and segment numbers never decrease', async (t) => {
  const member = await connect(file, secondUrl, { token: tokenFor(2) })
  t.match(await member.ok('room:join', { roomId: 'r1' }), { broadcast: { hlsUrl: '/hls/r1/index.m3u8' } })
  let { first: sequence, discontinuitySequence, last } = await ofSecond.playlist('live.m3u8')
  first.kill()
  const sinceKill = stopwatch()
  const segmentAtKill = Math.floor(Date.now() / 2048)
  let heardAt: number | undefined
  while (sinceKill() < 60_000 && heardAt === undefined) {
    // Requests the next segment as a player does. The server replies once the segment exists.
    const answer = await ofSecond.get(`live.m3u8?_HLS_msn=${last + 1}&_HLS_part=0`)
    if (answer.status !== 200) continue
    const playlist = parsePlaylist(String(answer.body))
    t.ok(playlist.first >= sequence && playlist.discontinuitySequence >= discontinuitySequence && playlist.last >= last, 'no sequence number decreases')
    ;({ first: sequence, discontinuitySequence, last } = playlist)
    // Segments that begin after the first server was killed can only come from the second server.
    if (last > segmentAtKill) heardAt = sinceKill()
  }
  // On an idle machine, players hear the broadcast again about 8 s after the kill.
  t.ok(heardAt !== undefined && heardAt < 20_000, `heard again after ${heardAt} ms`)
  t.comment(`heard again after ${Math.round(heardAt ?? NaN)} ms`)
})

t.test('the server that took over reports the broadcast', async (t) => {
  const response = await fetch(`${secondUrl}/admin/broadcasts`, { headers: { authorization: `Bearer ${adminKey}` } })
  t.match(await response.json(), { broadcasts: [{ roomId: 'r1', nodeId: /^second/, restarts: 0, isEncrypted: false }] })
})
