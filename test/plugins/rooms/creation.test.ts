import t from 'tap'
import { onEveryStore, build } from '../../support/build.ts'

onEveryStore(t, 'hooks receive the data of the join that creates a room, except the PIN', async (t, env) => {
  const { app: { hooks }, connect } = await build(t, { env: { FEATURES: 'auth,seats', ...env } })
  const calls: unknown[] = []
  hooks.on('room:create', async (roomId, session, request) => {
    calls.push(['create', roomId, session.userKey, request])
    return undefined
  })
  hooks.on('room:created', ({ roomId, locked }, request) => { calls.push(['created', roomId, locked, request]) })
  const [ada, bob] = [await connect(1), await connect(2)]
  await ada.ok('room:join', { roomId: 'r1', seatCount: 4, pin: '1234' })
  await bob.ok('room:join', { roomId: 'r1', seatCount: 8, pin: '1234' })
  const request = { roomId: 'r1', options: { seatCount: 4 } }
  t.same(calls, [['create', 'r1', '1', request], ['created', 'r1', true, request]])
})
