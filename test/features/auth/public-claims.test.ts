import t from 'tap'
import { build, onEveryStore, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'

// All claims that the backend puts into its tokens.
const claims = {
  signature: 'hello',
  email: 'ada@example.com',
  avatar: 'https://example.com/ada.png',
  frame: 'gold',
  gender: 'f',
  date_of_birth: '1990-05-04',
  phone: '+441234567890',
  country: 'GB',
  coins: 12_345,
  diamonds: 678,
  wealth_xp: 9,
  charm_xp: 10,
  is_blocked: false,
  isSpeaker: true,
  roles: ['admin']
}
const hidden = ['email', 'date_of_birth', 'phone', 'coins', 'diamonds', 'is_blocked', 'isSpeaker', 'exp', 'iat', 'roles']
const shown = ['signature', 'avatar', 'frame', 'gender', 'country', 'wealth_xp', 'charm_xp'] as const

onEveryStore(t, 'other users receive only the public claims', async (t, env) => {
  const server = await build(t, { env })
  const bob = await server.connect(2)
  const received = everything(bob)
  await bob.ok('room:join', { roomId: 'r1' })
  const ada = await connect(t, server.url, { token: tokenFor(1, claims) })
  await ada.ok('room:join', { roomId: 'r1' })

  const { user } = await bob.event('room:userJoined') as { user: Record<string, unknown> }
  t.same(Object.keys(user).sort(), ['id', 'name', 'userId', ...shown].sort())
  for (const name of shown) t.equal(user[name], claims[name], name)

  const eve = await server.connect(3)
  const { participants } = await eve.ok('room:join', { roomId: 'r1' }) as { participants: Record<string, unknown>[] }
  const { handRaised: _, ...profile } = participants.find(({ userId }) => userId === 1) ?? {}
  t.same(profile, user, 'the join reply equals the event')

  await ada.ok('room:leave')
  await bob.event('room:userLeft')
  for (const name of hidden) t.notMatch(received(), `"${name}"`, name)
  for (const value of [claims.email, claims.phone, claims.date_of_birth, String(claims.coins)]) t.notMatch(received(), value)
})

t.test('PUBLIC_CLAIMS lists the public claims', async (t) => {
  const server = await build(t, { env: { PUBLIC_CLAIMS: 'id, coins', PRESENCE_COALESCE_OVER: '0' } })
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId: 'r1' })
  const ada = await connect(t, server.url, { token: tokenFor(1, claims) })
  await ada.ok('room:join', { roomId: 'r1' })
  const { joined } = await bob.event('room:presence', ({ joined }) => (joined as { userId: unknown }[]).some(({ userId }) => userId === 1)) as { joined: object[] }
  t.same(joined.filter((user) => 'coins' in user), [{ userId: 1, id: 1, coins: 12_345 }], 'room:presence contains the configured claims, too')
})

t.test('a claim cannot impersonate another user', async (t) => {
  const server = await build(t, { env: { PUBLIC_CLAIMS: 'id,name,userId,__proto__,constructor' } })
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId: 'r1' })
  const ada = await connect(t, server.url, { token: tokenFor(1, { userId: 2, constructor: 'x' }) })
  await ada.ok('room:join', { roomId: 'r1' })
  t.match(await bob.event('room:userJoined'), { userId: 1, user: { userId: 1, id: 1 } })
})

/** Records every string that a client receives. */
function everything (client: TestClient): () => string {
  let text = ''
  client.ws.on('message', (raw) => { text += String(raw) })
  return () => text
}
