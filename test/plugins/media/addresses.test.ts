import t from 'tap'
import type { types } from 'mediasoup'
import { ownAddresses } from '../../../config/own-addresses.ts'
import { candidatesFor, socketsFor } from '../../../plugins/media/addresses.ts'
import { build } from '../../support/build.ts'

t.test('creates one socket per address family of the announced addresses', async (t) => {
  t.same(socketsFor('127.0.0.1', []), [{ ip: '127.0.0.1' }])
  t.same(socketsFor('0.0.0.0', ['203.0.113.7', '198.51.100.2']), [{ ip: '0.0.0.0', announcedAddress: '203.0.113.7' }])
  t.same(socketsFor('0.0.0.0', ['audio.example.com']), [{ ip: '0.0.0.0', announcedAddress: 'audio.example.com' }])
  t.same(socketsFor('10.0.0.7', ['audio.example.com', '203.0.113.7']), [{ ip: '10.0.0.7', announcedAddress: 'audio.example.com' }])
  t.same(socketsFor('0.0.0.0', ['203.0.113.7', '2001:db8::7']), [
    { ip: '0.0.0.0', announcedAddress: '203.0.113.7' },
    { ip: '::', announcedAddress: '2001:db8::7', flags: { ipv6Only: true } }
  ])
  t.same(socketsFor('::', ['203.0.113.7']), [{ ip: '0.0.0.0', announcedAddress: '203.0.113.7' }])
})

t.test('a transport has one candidate per announced address and protocol', async (t) => {
  const announced = ['203.0.113.7', 'audio.example.com', '198.51.100.2']
  const server = await build(t, { env: { FEATURES: 'auth,media', MEDIASOUP_ANNOUNCED_IP: announced.join() } })
  const client = await server.connect(1)
  await client.ok('room:join', { roomId: 'r1' })
  const { iceCandidates } = await client.ok('transport:create', { type: 'consumer' }) as { iceCandidates: types.IceCandidate[] }
  t.same(iceCandidates.map(({ address, protocol }) => `${address} ${protocol}`), [
    '203.0.113.7 udp', '203.0.113.7 tcp', 'audio.example.com udp', 'audio.example.com tcp', '198.51.100.2 udp', '198.51.100.2 tcp'
  ])
  t.equal(new Set(iceCandidates.map(({ priority }) => priority)).size, 6, 'each has its own priority')
  t.equal(new Set(iceCandidates.map(({ foundation }) => foundation)).size, 6, 'each has its own foundation')
  t.ok(iceCandidates.every(({ foundation, priority }) => /^[A-Za-z0-9+/]{1,32}$/.test(foundation) && priority > 0))
})

t.test('in development, a transport has candidates for loopback and the addresses of this machine', async (t) => {
  const server = await build(t, { env: { NODE_ENV: 'development', FEATURES: 'auth,media', FEATURES_WATCH: 'false', MEDIASOUP_WORKERS: '1' } })
  const client = await server.connect(1)
  await client.ok('room:join', { roomId: 'r1' })
  const { iceCandidates } = await client.ok('transport:create', { type: 'consumer' }) as { iceCandidates: types.IceCandidate[] }
  t.same(new Set(iceCandidates.map(({ address }) => address)), new Set(ownAddresses()))
  t.ok(iceCandidates.some(({ address }) => address === '127.0.0.1'))
})

t.test('an added address uses the port of the socket for its address family', async (t) => {
  const candidate = (address: string): types.IceCandidate => ({ address, ip: address, foundation: 'udpcandidate', priority: 1_000_000, protocol: 'udp', port: 10_000, type: 'host' })
  const found = [candidate('203.0.113.7'), { ...candidate('2001:db8::7'), port: 10_001 }]
  const all = candidatesFor(found, '0.0.0.0', ['203.0.113.7', '2001:db8::7', '2001:db8::8', 'audio.example.com'])
  t.same(all.map(({ address, port }) => `${address} ${port}`), ['203.0.113.7 10000', '2001:db8::7 10001', '2001:db8::8 10001', 'audio.example.com 10000'])
})
