import t from 'tap'
import { build, onStore, shortTimings, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { buildMortal } from '../../support/mortal.ts'
import { startServer } from '../../support/process.ts'
import { until } from '../../support/retry.ts'
import { startReceiver, webhookEnv } from '../../support/webhook-receiver.ts'

t.test('webhooks survive kill -9, and the restarted server reports the disconnected users', async (t) => {
  const receiver = await startReceiver(t)
  receiver.answer = () => 'hang'
  // Both servers use the same folder. `t.testdir` is called only once, because each call empties the folder.
  const folder = t.testdir({})
  const env = { ...webhookEnv(receiver), FEATURES: 'auth,seats,webhooks', HOST: '127.0.0.1', PORT: '0', DATA_DIR: folder }
  const first = startServer(t, env, folder)
  const ada = await connect(t, await first.url, { token: tokenFor(1) })
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('seat:take', { seatIndex: 2 })
  first.child.kill('SIGKILL')
  await first.exit

  receiver.answer = () => 200
  const second = await build(t, { env })
  await receiver.next('participant_left')
  t.match(receiver.accepted.slice(0, 3), [{ event: 'room_started' }, { event: 'participant_joined' }, { event: 'seat_changed', data: { seatIndex: 2, userId: 1 } }])
  t.match((await receiver.next('participant_left')).data, { userId: 1, reason: 'disconnected', participantCount: 0 })
  t.match((await receiver.next('seat_changed', ({ data }) => data.userId === null)).data, { seatIndex: 2, previousUserId: 1 }, 'the restart has freed the seat')
  await second.admin('POST', '/admin/rooms/r1/close')
  t.match((await receiver.next('room_finished')).data, { reason: 'closed_by_admin' })
  t.equal(receiver.names('r1').filter((name) => name === 'participant_left').length, 1)
})

onStore('redis')(t, 'two servers add each webhook once, and if one dies, the other reports its users as disconnected and delivers the queue', async (t, store) => {
  const receiver = await startReceiver(t)
  const env = { ...store, ...webhookEnv(receiver), FEATURES: 'auth,seats,webhooks', WEBHOOK_TIMEOUT_MS: '3000' }
  const doomed = await buildMortal(t, { env: { ...env, NODE_ID: 'a' }, timings: shortTimings })
  const server = await build(t, { env: { ...env, NODE_ID: 'b' }, timings: shortTimings })
  const [ada, eve] = [await doomed.connect(1), await doomed.connect(3)]
  const bob = await server.connect(2)
  await Promise.all([ada, bob].map(async (client) => await client.ok('room:join', { roomId: 'r1' })))
  await bob.ok('seat:take', { seatIndex: 1 })
  await ada.ok('seat:take', { seatIndex: 2 })
  await eve.ok('room:join', { roomId: 'r2' })
  await until(() => receiver.accepted.length === 7)
  t.strictSame([...receiver.names('r1')].sort(), ['participant_joined', 'participant_joined', 'room_started', 'seat_changed', 'seat_changed'])
  t.strictSame(receiver.names('r2'), ['room_started', 'participant_joined'])

  receiver.answer = () => 500
  await eve.ok('seat:take', { seatIndex: 5 })
  doomed.kill()
  receiver.answer = () => 200
  t.match((await receiver.next('seat_changed', ({ roomId }) => roomId === 'r2')).data, { userId: 3, seatIndex: 5 })
  for (const [roomId, userId] of [['r1', 1], ['r2', 3]] as const) {
    t.match((await receiver.next('participant_left', (webhook) => webhook.roomId === roomId)).data, { userId, reason: 'disconnected' })
  }
  await server.admin('POST', '/admin/rooms/r2/close')
  await receiver.next('room_finished')
  t.equal(new Set(receiver.accepted.map(({ id }) => id)).size, receiver.accepted.length)
  t.strictSame(receiver.names('r2').filter((name) => name !== 'seat_changed'), ['room_started', 'participant_joined', 'participant_left', 'room_finished'])
})
