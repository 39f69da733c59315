import { createSigner } from 'fast-jwt'
import t from 'tap'
import { build, jwtSecret } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { outcome } from '../../support/refusal.ts'

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })
// `exp` has a resolution of one second; the token stays valid for at least one second.
const soon = () => Math.ceil(Date.now() / 1000) + 1

t.test('a session closes when its token expires', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const exp = soon()
  const token = sign({ id: 2, name: 'Bob', exp })
  const bob = await connect(t, server.url, { token })
  await bob.ok('room:join', { roomId: 'r1' })

  t.same(await bob.closed, { code: 4401, reason: 'UNAUTHORIZED' })
  const late = Date.now() - exp * 1000
  t.ok(late >= 0 && late < 5000, `closed ${late} ms after the expiry, at most 5 s`)
  t.same(await ada.event('room:userLeft'), { roomId: 'r1', userId: 2 }, 'the user leaves the room')
  t.equal(await outcome(t, server.url, { token }), '401 UNAUTHORIZED')
  await ada.flush()
})

t.test('a session of a token without exp closes at its maximum age', async (t) => {
  const server = await build(t, { env: { JWT_MAX_AGE_SECONDS: '60' } })
  const iat = soon() - 60
  const bob = await connect(t, server.url, { token: sign({ id: 2, name: 'Bob', iat }) })
  t.same(await bob.closed, { code: 4401, reason: 'UNAUTHORIZED' })
  t.ok(Date.now() >= (iat + 60) * 1000)
})

t.test('a token that expires in years does not close its session', async (t) => {
  const server = await build(t)
  const bob = await connect(t, server.url, { token: sign({ id: 2, name: 'Bob', exp: soon() + 10 * 365 * 86_400 }) })
  const brief = await connect(t, server.url, { token: sign({ id: 3, name: 'Eve', exp: soon() }) })
  await brief.closed
  await bob.flush()
})
