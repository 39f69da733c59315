import { createHash } from 'node:crypto'
import t from 'tap'
import { Forbidden } from '../../../plugins/errors/codes.ts'
import { createPinCheck, hashPin } from '../../../plugins/rooms/pins.ts'
import { build, onBothStores, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { redisDatabase } from '../../support/redis.ts'

const oldHash = (roomId: string, pin: string) => createHash('sha256').update(`${roomId}:${pin}`).digest('hex')

t.test('hashes PINs with a random salt', async (t) => {
  const [first, second] = [await hashPin('1234'), await hashPin('1234')]
  t.match(first, /^scrypt:14:8:1:[\w-]{22}:[\w-]{43}$/)
  t.not(first, second, 'two rooms with the same PIN have different hashes')
  for (const stored of [first, second]) {
    const pins = createPinCheck()
    for (let i = 0; i < 2; i++) {
      t.equal(await pins.matches('r1', '1235', stored), false)
      t.equal(await pins.matches('r1', '1234', stored), true)
    }
  }
  const pins = createPinCheck()
  t.same(await Promise.all(['1234', '1234', '1235', '1234'].map((pin) => pins.matches('r1', pin, first))), [true, true, false, true], 'concurrent comparisons return the right results')
  for (const stored of ['', 'scrypt:14:8:1:AAAA', 'nonsense']) t.equal(await pins.matches('r1', '1234', stored), false, stored)
})

t.test('compares PINs with the hashes of older servers', async (t) => {
  const pins = createPinCheck()
  t.equal(await pins.matches('r1', '1234', oldHash('r1', '1234')), true)
  t.equal(await pins.matches('r1', '4321', oldHash('r1', '1234')), false)
  t.equal(await createPinCheck().matches('r2', '1234', oldHash('r1', '1234')), false)
})

t.test('Redis has only the salted hash, which all servers accept', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth' }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  const [ada, bob, eve] = [await a.connect(1), await b.connect(2), await b.connect(3)]
  await ada.ok('room:join', { roomId: 'r1', pin: '1234' })
  const stored = await a.app.redis.hget('msab:room:{r1}', 'pin')
  t.match(stored, /^scrypt:/)
  t.notMatch(JSON.stringify(await a.app.redis.hgetall('msab:room:{r1}')), /1234"/)
  t.equal(await eve.fails('room:join', { roomId: 'r1', pin: '0000' }), 'PIN_WRONG')
  await bob.ok('room:join', { roomId: 'r1', pin: '1234' })
  t.equal(await eve.fails('room:join', { roomId: 'r1', pin: '0001' }), 'PIN_WRONG', 'a wrong PIN is rejected even after the server has remembered the right one')
  t.equal(await eve.fails('room:join', { roomId: 'r1' }), 'PIN_REQUIRED')

  await a.app.redis.hset('msab:room:{r1}', 'pin', oldHash('r1', '5678'))
  t.equal(await bob.fails('room:join', { roomId: 'r1', pin: '1234' }), 'PIN_WRONG', 'the PIN in the store applies')
  await bob.ok('room:join', { roomId: 'r1', pin: '5678' })
})

onBothStores(t, 'admits all concurrent users who create a room with the same PIN', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', ...env } })
  const clients = await Promise.all(Array.from({ length: 8 }, (_, i) => server.connect(i)))
  const replies = await Promise.all(clients.map((client) => client.request('room:join', { roomId: 'r1', pin: '1234' })))
  t.same(replies.map(({ ok }) => ok), clients.map(() => true))
  t.equal(await (await server.connect('eve')).fails('room:join', { roomId: 'r1', pin: '4321' }), 'PIN_WRONG')
})

onBothStores(t, 'the owner of a room that was reserved with a PIN needs no PIN', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,moderation', ...env } })
  server.app.hooks.on('room:reserved', async () => ({ ownerId: 'ada', pin: '1234' }))
  const [ada, bob, eve] = [await server.connect('ada'), await server.connect('bob'), await server.connect('eve', { token: tokenFor('eve', { roles: ['admin'] }) })]
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { ownerId: 'ada', isLocked: true })
  await bob.ok('room:join', { roomId: 'r1', pin: '1234' })
  await ada.ok('room:leave')
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { ownerId: 'ada' })
  await ada.ok('room:leave')
  await ada.ok('room:join', { roomId: 'r1', pin: '4321' })
  t.equal(await eve.fails('room:join', { roomId: 'r1' }), 'PIN_REQUIRED', 'admins need the PIN')

  await ada.ok('room:transfer', { userId: 'bob' })
  for (const client of [ada, bob]) await client.ok('room:leave')
  t.equal(await ada.fails('room:join', { roomId: 'r1' }), 'PIN_REQUIRED', 'the previous owner needs the PIN')
  await bob.ok('room:join', { roomId: 'r1' })
})

onBothStores(t, 'the owner of a room that a join created with a PIN needs the PIN', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', ...env } })
  const ada = await server.connect('ada')
  await ada.ok('room:join', { roomId: 'r1', pin: '1234' })
  await ada.ok('room:leave')
  t.equal(await ada.fails('room:join', { roomId: 'r1' }), 'PIN_REQUIRED')
  t.equal(await ada.fails('room:join', { roomId: 'r1', pin: '4321' }), 'PIN_WRONG')
})

t.test('anonymous users at one address can guess at most 20 PINs per minute, even concurrently', async (t) => {
  const server = await build(t, { env: { FEATURES: 'seats', ALLOW_ANONYMOUS: 'true' } })
  const guest = () => connect(t, server.url)
  const owner = await guest()
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
  // Once the server remembers the right PIN, comparisons are cheap.
  await (await guest()).ok('room:join', { roomId: 'r1', pin: '1234' })
  const guessers = await Promise.all(Array.from({ length: 30 }, guest))
  const codes = await Promise.all(guessers.map((client, i) => client.fails('room:join', { roomId: 'r1', pin: String(5000 + i) })))
  t.equal(codes.filter((code) => code === 'PIN_WRONG').length, 20)
  t.equal(codes.filter((code) => code === 'RATE_LIMITED').length, 10)
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
})

t.test('many users at one address can join with the right PIN at the same time', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const owner = await server.connect('owner')
  await owner.ok('room:join', { roomId: 'r1', pin: '1234' })
  const clients = await Promise.all(Array.from({ length: 60 }, (_, i) => server.connect(i)))
  const replies = await Promise.all(clients.map((client) => client.request('room:join', { roomId: 'r1', pin: '1234' })))
  t.ok(replies.every(({ ok }) => ok))
})

onBothStores(t, 'too many wrong PINs from an address do not affect members', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,moderation', ...env } })
  const [owner, member, lost] = [await server.connect('owner'), await server.connect('member'), await server.connect('lost')]
  for (const client of [owner, member]) await client.ok('room:join', { roomId: 'created', pin: '1234' })
  const host = await server.connect('host')
  for (const client of [host, lost]) await client.ok('room:join', { roomId: 'locked' })
  await host.ok('room:lock', { pin: '1234' })
  const guesser = async (id: number) => {
    const client = await server.connect(id)
    for (let i = 0; i < 5; i++) t.equal(await client.fails('room:join', { roomId: 'created', pin: '0000' }), 'PIN_WRONG')
    return client
  }
  const [stranger] = await Promise.all([1, 2, 3, 4].map(guesser))
  for (const roomId of ['created', 'locked', 'unknown']) t.equal(await stranger?.fails('room:join', { roomId, pin: '1234' }), 'RATE_LIMITED')

  await owner.ok('room:join', { roomId: 'managed' })
  server.app.hooks.on('room:admit', async (roomId) => {
    if (roomId === 'managed') throw new Forbidden('Not on the channel')
    return undefined
  })
  t.equal(await stranger?.fails('room:join', { roomId: 'managed', pin: '1234' }), 'FORBIDDEN', 'a feature may reject the user')

  const second = await server.connect('member')
  await second.ok('room:join', { roomId: 'created', pin: '1234' })
  t.equal(await (await server.connect('member')).fails('room:join', { roomId: 'created', pin: '0000' }), 'PIN_WRONG')
  await lost.close()
  await host.event('room:userLeft')
  await (await server.connect('lost')).ok('room:join', { roomId: 'locked', pin: '1234' })
  await host.ok('room:leave')
  await host.ok('room:join', { roomId: 'locked', pin: '1234' })
})
