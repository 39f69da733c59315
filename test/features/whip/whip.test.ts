import { observer } from 'mediasoup'
import type { types } from 'mediasoup'
import t from 'tap'
import { build, onBothStores, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { metricOf } from '../../support/metrics.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { chromiumOffer, firefoxOffer } from './offers.ts'

// Tests the HTTP interface of WHIP. test/browser/whip.test.ts also sends audio.

const env = { FEATURES: 'auth,media,seats,whip' }

interface Call {
  method?: string
  user?: string | number | null
  type?: string
  body?: string
  headers?: Record<string, string>
}

function caller ({ url }: TestServer) {
  return async (path: string, { method = 'POST', user = 1, type = 'application/sdp', body = chromiumOffer, headers = {} }: Call = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: { ...(user === null ? {} : { authorization: `Bearer ${tokenFor(user)}` }), ...(method === 'DELETE' ? {} : { 'content-type': type }), ...headers },
      ...(method === 'DELETE' || method === 'OPTIONS' ? {} : { body })
    })
    const text = await response.text()
    return { status: response.status, text, headers: response.headers, code: text.startsWith('{') ? (JSON.parse(text) as { error: { code: string } }).error.code : '', location: response.headers.get('location') ?? '', etag: response.headers.get('etag') ?? '' }
  }
}

/** @returns the numbers of open sessions that the metrics report, by kind */
async function sessionsOf (server: TestServer): Promise<Record<string, number>> {
  return { whip: await metricOf(server, 'flylive_whip_sessions', { kind: 'whip' }), whep: await metricOf(server, 'flylive_whip_sessions', { kind: 'whep' }) }
}

t.test('an encoder joins the room, takes a seat and leaves', async (t) => {
  const server = await build(t, { env: { ...env, ICE_SERVERS: '[{"urls":"stun:stun.example.com"}]' } })
  const call = caller(server)
  const ada = await server.connect(9)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('seat:take', { seatIndex: 0 })
  for (const [user, offer, payloadType] of [[1, chromiumOffer, 111], [2, firefoxOffer, 109]] as const) {
    const opened = await call('/whip/r1', { user, body: offer })
    t.equal(opened.status, 201)
    t.match(opened.headers.get('content-type'), /^application\/sdp/)
    t.match(opened.location, /^\/whip\/r1\/[\w.~-]+$/)
    t.match(opened.etag, /^"\w+"$/)
    t.equal(opened.headers.get('accept-patch'), 'application/trickle-ice-sdpfrag')
    t.equal(opened.headers.get('link'), '<stun:stun.example.com>; rel="ice-server"')
    for (const line of ['a=ice-lite', 'a=setup:passive', 'a=recvonly', 'a=mid:0', `a=rtpmap:${payloadType} opus/48000/2`, 'a=rtcp-mux']) t.ok(opened.text.includes(`${line}\r\n`), line)
    t.match(await ada.event('seat:updated', ({ userId }) => userId === user), { userId: user, seatIndex: 1 })
    t.match(await ada.event('audio:newProducer', ({ userId }) => userId === user), { kind: 'audio' })
    t.same(await sessionsOf(server), { whip: 1, whep: 0 })
    t.equal((await call(opened.location, { method: 'DELETE', user })).status, 200)
    t.same(await sessionsOf(server), { whip: 0, whep: 0 })
    t.match(await ada.event('seat:cleared', ({ userId }) => userId === user), { seatIndex: 1, reason: 'left' })
    t.match(await ada.event('room:userLeft', ({ userId }) => userId === user), { userId: user })
    t.equal((await call(opened.location, { method: 'DELETE', user })).status, 404)
  }
})

t.test('rejects invalid requests and leaves no session behind', async (t) => {
  const server = await build(t, { env: { ...env, MAX_CLIENTS_PER_ROOM: '2' } })
  const call = caller(server)
  t.match(await call('/whip/r1', { user: null }), { status: 401, code: 'UNAUTHORIZED' })
  t.match(await call('/whip/r1', { body: 'no SDP' }), { status: 400, code: 'VALIDATION_FAILED' })
  t.match(await call('/whip/r1', { body: chromiumOffer.replace(/^a=fingerprint.*\r\n/m, '') }), { status: 400, code: 'VALIDATION_FAILED' })
  t.match(await call('/whip/r1', { body: chromiumOffer.replace(/^a=ice-pwd.*\r\n/m, '') }), { status: 400, code: 'VALIDATION_FAILED' })
  t.match(await call('/whip/r1', { body: chromiumOffer.replaceAll('opus', 'speex') }), { status: 422, code: 'OFFER_NOT_ACCEPTABLE' })
  t.match(await call('/whip/r1', { body: chromiumOffer.replace('a=sendonly', 'a=recvonly') }), { status: 422, code: 'OFFER_NOT_ACCEPTABLE' })
  t.match(await call('/whip/r1', { body: chromiumOffer.replace('fingerprint:sha-256', 'fingerprint:256') }), { status: 400, code: 'VALIDATION_FAILED' })
  t.match(await call('/whip/r1', { type: 'application/json', body: '{}' }), { status: 415 })
  t.match(await call('/whip/r1', { type: 'text/plain' }), { status: 415 })
  t.match(await call('/whip/r1', { method: 'PUT' }), { status: 405, code: 'METHOD_NOT_ALLOWED' })
  t.equal((await fetch(`${server.url}/whip/r1`)).headers.get('allow'), 'POST')
  t.equal((await fetch(`${server.url}/whip/r1/x`)).status, 405)
  t.match(await call('/whip/r%201'), { status: 400, code: 'VALIDATION_FAILED' })
  t.equal(server.app.sockets.size, 0)
  t.equal((await server.admin('GET', '/admin/rooms/r1')).status, 404)

  const ada = await server.connect(9)
  await ada.ok('room:join', { roomId: 'r1', seatCount: 1, pin: '1234' })
  await ada.ok('seat:take', { seatIndex: 0 })
  t.match(await call('/whip/r1'), { status: 403, code: 'PIN_REQUIRED' })
  t.match(await call('/whip/r1?pin=9999'), { status: 403, code: 'PIN_WRONG' })
  t.match(await call('/whip/r1?pin=1234'), { status: 409, code: 'SEAT_TAKEN' })
  t.match(await call('/whip/r1?pin=1234', { user: 9 }), { status: 201 }, 'the occupant of the seat is accepted')
  const bob = await server.connect(8)
  await bob.ok('room:join', { roomId: 'r1', pin: '1234' })
  t.match(await call('/whip/r1?pin=1234'), { status: 409, code: 'ROOM_FULL' })
  await server.admin('POST', '/admin/rooms/r1/kick', { userId: 8, banSeconds: 60 })
  await ada.event('room:userLeft')
  t.match(await call('/whip/r1?pin=1234', { user: 8 }), { status: 403, code: 'BANNED' })
})

t.test('sessions count towards the connection limits', async (t) => {
  const server = await build(t, { env: { ...env, MAX_CONNECTIONS_PER_USER: '1', MAX_CONNECTIONS_PER_IP: '2' } })
  const call = caller(server)
  const { location } = await call('/whip/r1')
  t.match(await call('/whip/r1'), { status: 429, code: 'TOO_MANY_CONNECTIONS' }, 'the user has a session')
  t.match(await call('/whip/r1', { user: 2, headers: { origin: 'https://elsewhere.example.com' } }), { status: 403, code: 'ORIGIN_NOT_ALLOWED' })
  t.match(await call('/whip/r1', { user: 2, body: 'no SDP' }), { status: 400 }, 'rejected offers do not count')
  t.match(await call('/whip/r1', { user: 2, body: chromiumOffer.replace(/cname:\S+/, 'cname:12345').replace(/fmtp:111 .*/, 'fmtp:111 10') }), { status: 201 }, 'SDP values may look like numbers')
  t.match(await call('/whip/r1', { user: 3 }), { status: 429, code: 'TOO_MANY_CONNECTIONS' }, 'the address has two sessions')
  t.equal((await call(location, { method: 'DELETE' })).status, 200)
  t.match(await call('/whip/r1'), { status: 201 })
})

t.test('adds candidates and restarts ICE', async (t) => {
  const server = await build(t, { env })
  const call = caller(server)
  const { location, etag } = await call('/whip/r1')
  const ufrag = /a=ice-ufrag:(.*)\r/.exec(chromiumOffer)?.[1]
  const patch = (ifMatch: string | undefined, name = String(ufrag), options: Call = {}) => call(location, {
    method: 'PATCH',
    type: 'application/trickle-ice-sdpfrag',
    body: `a=ice-ufrag:${name}\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 2130706431 198.51.100.1 39132 typ host\r\na=end-of-candidates\r\n`,
    ...(ifMatch === undefined ? {} : { headers: { 'if-match': ifMatch } }),
    ...options
  })
  t.equal((await patch(etag)).status, 204)
  t.match(await patch('"other"'), { status: 412, code: 'PRECONDITION_FAILED' })
  t.match(await patch(undefined), { status: 428, code: 'PRECONDITION_REQUIRED' })
  t.match(await patch(etag, 'x', { body: 'no fragment', headers: { 'if-match': etag } }), { status: 400 })
  t.match(await patch(etag, 'x', { user: 2, headers: { 'if-match': etag } }), { status: 403, code: 'FORBIDDEN' })
  t.match(await patch(etag, 'x', { user: null, headers: { 'if-match': etag } }), { status: 401 })
  const restarted = await patch('*', 'newu')
  t.equal(restarted.status, 200)
  t.match(restarted.headers.get('content-type'), /^application\/trickle-ice-sdpfrag/)
  t.match(restarted.text, /^a=ice-lite\r\na=ice-ufrag:\w+\r\na=ice-pwd:\w+\r\nm=audio 9 .*\r\na=mid:0\r\na=candidate:.* 127\.0\.0\.1 /)
  t.not(restarted.etag, etag)
  t.equal((await patch(etag)).status, 412, 'the previous ETag is no longer valid')
  t.equal((await patch(restarted.etag, 'newu')).status, 204)

  // The session ends when the user leaves the room.
  t.equal((await server.admin('POST', '/admin/rooms/r1/kick', { userId: 1 })).status, 204)
  t.match(await patch(restarted.etag), { status: 404, code: 'SESSION_NOT_FOUND' })
  t.match(await call('/whip/r1/unknown', { method: 'DELETE' }), { status: 404 })
})

t.test('a session without an ICE connection ends after 30 s', async (t) => {
  const server = await build(t, { env })
  const call = caller(server)
  const ada = await server.connect(9)
  await ada.ok('room:join', { roomId: 'r1' })
  const early = await call('/whip/r1')
  const { clock } = server.app
  const now = clock.now.bind(clock)
  clock.now = () => now() + 25_000
  const late = await call('/whip/r1', { user: 2 })
  clock.now = () => now() + 31_000
  t.match(await ada.event('room:userLeft'), { userId: 1 })
  t.match(await call(early.location, { method: 'DELETE' }), { status: 404, code: 'SESSION_NOT_FOUND' })
  t.equal((await call(late.location, { method: 'DELETE', user: 2 })).status, 200)
})

t.test('every server accepts requests for a session on another server', async (t) => {
  const shared = { ...env, REDIS_URL: await redisDatabase() }
  const [here, there] = [await build(t, { env: { ...shared, NODE_ID: 'a' } }), await build(t, { env: { ...shared, NODE_ID: 'b' } })]
  const { location, etag } = await caller(here)('/whip/r1')
  const call = caller(there)
  const patch = { method: 'PATCH', type: 'application/trickle-ice-sdpfrag', body: 'a=ice-ufrag:newu\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n' }
  t.match(await call(location, { ...patch, headers: { 'if-match': '"other"' } }), { status: 412, code: 'PRECONDITION_FAILED' })
  t.equal((await call(location, { ...patch, headers: { 'if-match': etag } })).status, 204)
  t.match(await call(location, { ...patch, headers: { 'if-match': '*' } }), { status: 200, text: /^a=ice-lite/ })
  t.match(await call(location, { method: 'DELETE', user: 2 }), { status: 403, code: 'FORBIDDEN' })
  t.equal(here.app.sockets.size, 1)
  t.equal((await call(location, { method: 'DELETE' })).status, 200)
  t.equal(here.app.sockets.size, 0)
  t.match(await call(location, { method: 'DELETE' }), { status: 404, code: 'SESSION_NOT_FOUND' })
})

onBothStores(t, 'the sessions of a server that was killed or restarted do not exist', async (t, store) => {
  const call = caller(await build(t, { env: { ...env, ...store } }))
  const location = '/whip/r1/node-1-0a1b2c3d~7d0f1a52-8f0a-4f6e-9d1c-2f9b1f6c1a2b'
  const patch = { method: 'PATCH', type: 'application/trickle-ice-sdpfrag', body: 'a=ice-ufrag:newu\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n', headers: { 'if-match': '*' } }
  t.match(await call(location, patch), { status: 404, code: 'SESSION_NOT_FOUND' })
  t.match(await call(location, { method: 'DELETE' }), { status: 404, code: 'SESSION_NOT_FOUND' })
})

t.test('accepts configured origins, continues across a reload and stops with the feature', async (t) => {
  const origin = 'https://app.example.com'
  const server = await build(t, { env: { ...env, CORS_ORIGINS: origin } })
  const call = caller(server)
  const { status } = await call('/whip/r1', { method: 'OPTIONS' })
  t.equal(status, 204, 'an OPTIONS request that is not a preflight')
  const preflight = await call('/whip/r1', { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' } })
  t.equal(preflight.headers.get('access-control-allow-origin'), origin)
  t.match(preflight.headers.get('access-control-allow-methods'), /PATCH, DELETE/)
  t.match(preflight.headers.get('access-control-allow-headers'), /authorization/)
  const opened = await call('/whip/r1', { headers: { origin } })
  t.equal(opened.headers.get('access-control-allow-origin'), origin)
  t.equal(opened.headers.get('access-control-expose-headers'), 'location, etag, link, accept-patch')
  t.match(await call('/whep/r1'), { status: 422 }, 'an offer to send cannot be used to play')
  t.match(await call('/whep/unknown', { body: 'no SDP' }), { status: 404, code: 'ROOM_NOT_FOUND' })
  t.match(await call('/whep/unknown', { body: chromiumOffer.replace('a=sendonly', 'a=recvonly') }), { status: 404, code: 'ROOM_NOT_FOUND' })

  t.match(await server.admin('POST', '/admin/features/whip/reload'), { status: 200, body: { generation: 2 } })
  t.equal((await call(opened.location, { method: 'PATCH', type: 'application/trickle-ice-sdpfrag', body: 'a=mid:0\r\n', headers: { 'if-match': opened.etag } })).status, 204, 'sessions outlive a reload')
  t.match(await server.admin('POST', '/admin/features/whip/disable'), { status: 200 })
  t.equal((await call('/whip/r1')).status, 404)
  t.equal((await call(opened.location, { method: 'DELETE' })).status, 404)
  t.equal(server.app.sockets.size, 0)
})

t.test('the session of a player ends when its mix ends, so that the player does not wait for audio', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,mix,whip' } })
  const call = caller(server)
  const ada = await server.connect(9)
  await ada.ok('room:join', { roomId: 'r1' })
  const player = { body: chromiumOffer.replace('a=sendonly', 'a=recvonly') }
  const { status, location } = await call('/whep/r1', player)
  t.equal(status, 201)
  await server.admin('POST', '/admin/features/mix/disable')
  t.match(await ada.event('room:userLeft'), { userId: 1 })
  t.match(await call(location, { method: 'DELETE' }), { status: 404, code: 'SESSION_NOT_FOUND' })
  t.match(await call('/whep/r1', player), { status: 409, code: 'FEATURE_DISABLED' })
  await server.admin('POST', '/admin/features/mix/enable')
  t.match(await call('/whep/r1', player), { status: 201 })
})

t.test("an encoder's session ends when the server closes its producer", async (t) => {
  const server = await build(t, { env })
  const call = caller(server)
  const ada = await server.connect(9)
  await ada.ok('room:join', { roomId: 'r1' })
  const { location } = await call('/whip/r1')
  await ada.event('audio:newProducer')
  await ada.ok('seat:remove', { userId: 1 })
  t.match(await ada.event('audio:producerClosed'), { userId: 1 })
  t.match(await ada.event('room:userLeft'), { userId: 1 })
  t.match(await call(location, { method: 'DELETE' }), { status: 404, code: 'SESSION_NOT_FOUND' })

  t.equal((await call('/whip/r1')).status, 201)
  await ada.ok('seat:mute', { userId: 1 })
  await ada.event('audio:producerPaused')
  t.equal(server.app.sockets.size, 2, 'a mute does not end the session')
})

t.test('the router for a payload type closes when its last player leaves', async (t) => {
  const routers = new Set<types.Router>()
  observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => {
    routers.add(router)
    router.observer.once('close', () => routers.delete(router))
  }))
  const server = await build(t, { env: { FEATURES: 'auth,media,mix,whip' } })
  const call = caller(server)
  await (await server.connect(9)).ok('room:join', { roomId: 'r1' })
  const offer = (payloadType: number) => chromiumOffer.replace('a=sendonly', 'a=recvonly').replaceAll(/\b111\b/g, String(payloadType))
  const play = async (user: number, payloadType: number) => {
    const opened = await call('/whep/r1', { user, body: offer(payloadType) })
    t.equal(opened.status, 201)
    return async () => t.equal((await call(opened.location, { method: 'DELETE', user })).status, 200)
  }
  const [first, second, third] = [await play(1, 97), await play(2, 97), await play(3, 98)]
  t.equal(routers.size, 3, 'the main router and one per payload type')
  await first()
  await third()
  await until(() => routers.size === 2)
  await second()
  await until(() => routers.size <= 1)
  await (await play(1, 97))()
})
