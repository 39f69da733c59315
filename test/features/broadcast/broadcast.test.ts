import { createDecipheriv } from 'node:crypto'
import t from 'tap'
import { build } from '../../support/build.ts'
import { speak } from '../../support/mix.ts'
import { fragmentsOf, hlsClient } from '../../support/hls.ts'
import { metricOf } from '../../support/metrics.ts'
import { until } from '../../support/retry.ts'

// Tests a broadcast as players receive it: playlists, segments and parts over HTTP.

const server = await build(t, { env: { FEATURES: 'auth,media,lobby,broadcast' } })
const owner = await server.connect(1)
const member = await server.connect(2)
const joined = await owner.ok('room:join', { roomId: 'r1' })
await member.ok('room:join', { roomId: 'r1' })

const { get, getLater, text, playlist } = hlsClient(`${server.url}/hls/r1`)

t.test('returns 404 for rooms that are not on air, and rejects commands from members', async (t) => {
  t.match(joined, { broadcast: null })
  for (const path of ['index.m3u8', 'live.m3u8', '../unknown/index.m3u8', 'key', '..%2f..%2fetc/passwd', 'a/b']) {
    t.match(await get(path), { status: 404 }, path)
  }
  t.equal(await member.fails('broadcast:start'), 'FORBIDDEN')
  t.equal(await member.fails('broadcast:stop'), 'FORBIDDEN')
  t.equal(await owner.fails('broadcast:stop'), 'NOT_ON_AIR')
})

t.test('the owner puts the room on air, and all members are notified', async (t) => {
  const reply = await owner.ok('broadcast:start')
  t.strictSame(reply, { hlsUrl: '/hls/r1/index.m3u8' })
  t.strictSame(await owner.ok('broadcast:start'), reply, 'starting again has no effect')
  t.strictSame(await member.event('broadcast:started'), { roomId: 'r1', hlsUrl: '/hls/r1/index.m3u8' })
  const third = await server.connect(3)
  t.match(await third.ok('room:join', { roomId: 'r1' }), { broadcast: { hlsUrl: '/hls/r1/index.m3u8' } })
  t.match(await third.ok('lobby:list'), { rooms: [{ live: { onAir: true } }] })
  await until(async () => await metricOf(server, 'flylive_broadcast_rooms') === 1)
})

t.test('players receive continuous segments and parts', async (t) => {
  await speak(t, server.app, 'r1', { hz: 1000, amplitude: 0.3 })
  await playlist('live.m3u8')
  const master = await text('index.m3u8')
  t.match(master, /CODECS="mp4a.40.2"\nlive.m3u8/)
  t.match(master, /CODECS="opus"\nopus.m3u8/)

  for (const [file, codec] of [['live.m3u8', 'aac'], ['opus.m3u8', 'opus']] as const) {
    await t.test(codec, async (t) => {
      let listed = await playlist(file)
      let next = listed.first + listed.segments.length
      // The reply to a blocking playlist request contains the requested part.
      for (let part = 0; part < 8; part++) {
        const answer = await getLater(`${file}?_HLS_msn=${next}&_HLS_part=${part}`)
        t.equal(answer.status, 200)
        t.equal(answer.headers.get('cache-control'), 'public, max-age=12')
        t.match(String(answer.body), `URI="${codec}-${next}.${part}.m4s"`)
      }
      listed = await playlist(`${file}?_HLS_msn=${++next}`)
      t.equal(listed.targetDuration, 2)
      t.ok(Math.abs(listed.first * 2.048 - Date.now() / 1000) < 20, 'segments are numbered by Unix time')
      t.ok(listed.discontinuitySequence < 1000, 'the number is small, because hls.js creates arrays of this length')
      let end: number | undefined
      for (const { uri, duration } of listed.segments) {
        const segment = await get(`${uri}`)
        t.match(Object.fromEntries(segment.headers), { 'cache-control': 'public, max-age=60, immutable', 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin', 'content-type': 'audio/mp4' })
        for (const fragment of fragmentsOf(segment.body)) {
          if (end !== undefined) t.equal(fragment.start, end, 'there is no gap between fragments')
          end = fragment.start + fragment.duration
        }
        t.ok(Math.abs(fragmentsOf(segment.body).reduce((sum, fragment) => sum + fragment.duration, 0) / 48_000 - duration) < 0.001)
      }
      for (const { uri, duration } of listed.parts) {
        const [fragment] = fragmentsOf((await get(`${uri}`)).body)
        t.ok(Math.abs((fragment?.duration ?? 0) / 48_000 - duration) < 0.001 && duration <= 0.26 && duration > 0.22, `${uri}: ${duration}`)
      }
      t.match((await get(`${codec}-init.mp4`)).body.toString('latin1'), /^.{4}ftyp.*moov/s)
    })
  }
  const head = await fetch(`${server.url}/hls/r1/live.m3u8`, { method: 'HEAD' })
  t.match([head.status, Number(head.headers.get('content-length')) > 100, head.headers.get('cache-control'), await head.text()], [200, true, 'public, max-age=1', ''])
  t.match(await get('live.m3u8?_HLS_msn=99999999999'), { status: 400 })
  t.match(await get('live.m3u8?_HLS_part=1'), { status: 400 })
  t.match(await get('live.m3u8?_HLS_msn=x'), { status: 400 })
  t.match(await get('aac-1.m4s'), { status: 404 })
  t.match(await get('key'), { status: 404 }, 'the broadcast is not encrypted')
  t.match(JSON.parse(await text('info')), { roomId: 'r1', hlsUrl: '/hls/r1/index.m3u8', title: null, hostName: 'User 1' })
})

t.test('the admin API lists the rooms on air, with their listeners', async (t) => {
  const stop = new AbortController()
  const players = Array.from({ length: 20 }, async () => {
    for (let { last } = await playlist('live.m3u8'); !stop.signal.aborted;) {
      const answer = await fetch(`${server.url}/hls/r1/live.m3u8?_HLS_msn=${last + 1}`, { signal: stop.signal })
      last = Number(/MEDIA-SEQUENCE:(\d+)/.exec(await answer.text())?.[1]) + 4
    }
  }).map(async (player) => await player.catch(() => { /* The request fails when the test aborts it. */ }))
  const broadcast = async () => ((await server.admin('GET', '/admin/broadcasts')).body?.['broadcasts'] as Record<string, number>[])[0]
  await until(async () => (await broadcast())?.['waitingRequests'] === 20, 30_000)
  t.match(await broadcast(), { roomId: 'r1', nodeId: server.app.nodeId, restarts: 0, isEncrypted: false, delayMs: Number, startedAt: Number, listeners: Number })
  stop.abort()
  await Promise.all(players)
  await until(async () => (await broadcast())?.['waitingRequests'] === 0)
})

t.test('no segment is missing after a reload', async (t) => {
  const before = await playlist('live.m3u8')
  const next = before.first + before.segments.length
  const held = playlist(`live.m3u8?_HLS_msn=${next + 1}&_HLS_part=0`)
  t.match(await server.admin('POST', '/admin/features/broadcast/reload'), { status: 200, body: { generation: 2 } })
  const after = await held
  const last = after.segments.slice(-2)
  t.strictSame(last.map(({ uri }) => uri), [`aac-${next - 1}.m4s`, `aac-${next}.m4s`])
  t.equal(last[1]?.duration, 2.048)
  t.notMatch((await text('live.m3u8')).split(`aac-${next - 1}.m4s`).at(-1), 'DISCONTINUITY')
})

t.test('the broadcast of a room with a PIN is encrypted, and its key requires a token for the room', async (t) => {
  const host = await server.connect(4)
  await host.ok('room:join', { roomId: 'r2', pin: '2468' })
  await host.ok('broadcast:start')
  const secret = hlsClient(`${server.url}/hls/r2`)
  const token = async (body: object) => {
    const response = await fetch(`${server.url}/api/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    return { status: response.status, body: await response.json() as { token: string, error: { code: string } } }
  }
  t.match(await token({ roomId: 'r2' }), { status: 403, body: { error: { code: 'PIN_REQUIRED' } } })
  t.match(await token({ roomId: 'r2', pin: '1111' }), { status: 403, body: { error: { code: 'PIN_WRONG' } } })
  t.match(await token({ roomId: 'r3' }), { status: 404 })
  t.match(await token({ roomId: '../r2' }), { status: 400 })
  const { body: { token: right } } = await token({ roomId: 'r2', pin: '2468' })
  const { body: { token: other } } = await token({ roomId: 'r1' })
  t.match(await secret.get('key'), { status: 403 })
  t.match(await secret.get(`key?token=${other}`), { status: 403 }, 'the token of another room')
  t.match(await secret.get(`key?token=${right}x`), { status: 403 })
  const { status, body: key, headers } = await secret.get(`key?token=${right}`)
  t.match({ status, length: key.length, cache: headers.get('cache-control') }, { status: 200, length: 16, cache: 'no-store' })

  await secret.playlist('live.m3u8')
  t.notMatch(await secret.text('live.m3u8'), right)
  const listed = await secret.text(`live.m3u8?token=${right}`)
  t.match(listed, `URI="key?token=${right}"`)
  t.ok(listed.indexOf('#EXT-X-MAP') < listed.indexOf('#EXT-X-KEY'), 'the initialization section is not encrypted')
  const [, iv = '', segment = '', number = ''] = /IV=0x([0-9a-f]{32})\n(?:#.*\n)*(aac-(\d+)\.m4s)/.exec(listed) ?? []
  t.equal(Number.parseInt(iv, 16), Number(number), 'the IV is the segment\'s number')
  const open = async (file: string) => {
    const decipher = createDecipheriv('aes-128-cbc', key, Buffer.from(iv, 'hex'))
    return Buffer.concat([decipher.update((await secret.get(file)).body), decipher.final()])
  }
  const whole = await open(segment)
  const parts = []
  for (let i = 0; i < fragmentsOf(whole).length; i++) parts.push(await open(`aac-${number}.${8 - fragmentsOf(whole).length + i}.m4s`))
  t.ok(Buffer.concat(parts).equals(whole), 'each part is encrypted separately')
  t.match(JSON.parse(await secret.text('info')), { isEncrypted: true, hostName: null })
  await host.ok('broadcast:stop')
  await until(async () => (await secret.get(`key?token=${right}`)).status === 404)
})

t.test('the owner ends the broadcast', async (t) => {
  await owner.ok('broadcast:stop')
  t.strictSame(await member.event('broadcast:stopped'), { roomId: 'r1' })
  await until(async () => (await get('live.m3u8')).status === 404)
  t.equal(await owner.fails('broadcast:stop'), 'NOT_ON_AIR')
  await until(async () => await metricOf(server, 'flylive_broadcast_rooms') === 0)
})

t.test('a room with enough listeners goes on air unless a host has stopped its broadcast', async (t) => {
  t.match(await server.admin('PATCH', '/admin/features/broadcast/config', { fromListeners: 2 }), { status: 200 })
  const host = await server.connect(5)
  t.match(await host.ok('room:join', { roomId: 'r4' }), { broadcast: null })
  const listener = await server.connect(6)
  await listener.ok('room:join', { roomId: 'r4' })
  t.match(await host.event('broadcast:started'), { roomId: 'r4', hlsUrl: '/hls/r4/index.m3u8' })
  await host.ok('broadcast:stop')
  await listener.event('broadcast:stopped')
  await (await server.connect(7)).ok('room:join', { roomId: 'r4' })
  await (await server.connect(8)).ok('room:join', { roomId: 'r4' })
  t.match(await (await server.connect(9)).ok('room:join', { roomId: 'r4' }), { broadcast: null })
})

t.test('rejects all methods except GET, HEAD and OPTIONS', async (t) => {
  const status = async (method: string) => (await fetch(`${server.url}/hls/r1/live.m3u8`, { method })).status
  t.strictSame([await status('POST'), await status('DELETE'), await status('OPTIONS')], [405, 405, 204])
})
