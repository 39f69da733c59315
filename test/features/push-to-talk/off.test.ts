import t from 'tap'
import { build, onEveryStore, tokenFor } from '../../support/build.ts'

onEveryStore(t, 'while the feature is off, nobody can create or join the room of a channel', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,push-to-talk', ...env } })
  const claims = { channelIds: [5] }
  const [member, other] = [await server.connect(1, { token: tokenFor(1, claims) }), await server.connect(2)]
  t.match(await member.ok('room:join', { roomId: 'ptt:5' }), { ownerId: null })
  t.equal((await server.admin('POST', '/admin/features/push-to-talk/disable')).status, 200)
  for (const roomId of ['ptt:5', 'ptt:6', 'ptt:']) {
    t.equal(await other.fails('room:join', { roomId }), 'FEATURE_DISABLED', roomId)
    t.equal(await other.fails('room:join', { roomId, pin: '1234' }), 'FEATURE_DISABLED', `${roomId} with a PIN`)
  }
  t.match(await other.ok('room:join', { roomId: 'ptt' }), { ownerId: 2 })
  t.equal((await server.admin('POST', '/admin/features/push-to-talk/enable')).status, 200)
  t.equal(await other.fails('room:join', { roomId: 'ptt:5' }), 'FORBIDDEN')
  t.match(await member.ok('room:join', { roomId: 'ptt:5' }), { ownerId: null })
})
