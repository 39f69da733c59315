import t from 'tap'
import { eventData, webhook } from '../../../features/webhooks/events.ts'
import type { EventName } from '../../../features/webhooks/events.ts'
import { build, onBothStores } from '../../support/build.ts'
import { until } from '../../support/retry.ts'
import { dtlsParameters, rtpParameters } from '../../support/rtp.ts'
import { startReceiver, webhookEnv } from '../../support/webhook-receiver.ts'

onBothStores(t, 'sends each event to each URL, signed and with its data, in order within each room', async (t, store) => {
  const [one, two] = [await startReceiver(t), await startReceiver(t)]
  const server = await build(t, { env: { ...store, ...webhookEnv(one, two), FEATURES: 'auth,media,mix,seats,recording,broadcast,webhooks', SEAT_GRACE_SECONDS: '0' } })
  const [ada, bob] = [await server.connect(1), await server.connect('bob')]
  await ada.ok('room:join', { roomId: 'r1', title: 'Late show' })
  await bob.ok('room:join', { roomId: 'r1' })
  const started = await one.next('room_started')
  t.match(started, { id: String, createdAt: Number, roomId: 'r1', data: { ownerId: 1, title: 'Late show', startedAt: Number } })
  t.ok(Math.abs(started.createdAt - Date.now()) < 60_000, 'milliseconds')
  t.match((await one.next('participant_joined')).data, { userId: 1, user: { userId: 1, name: 'User 1' }, participantCount: 1 })
  t.match((await one.next('participant_joined', ({ data }) => data.userId === 'bob')).data, { participantCount: 2 })

  await bob.ok('seat:take', { seatIndex: 3 })
  const seat = async (fits: (data: Record<string, unknown>) => boolean) => (await one.next('seat_changed', ({ data }) => fits(data))).data
  t.strictSame(await seat(({ userId }) => userId === 'bob'), { seatIndex: 3, userId: 'bob', isMuted: false, isLocked: false, previousUserId: null })
  await ada.ok('seat:mute', { userId: 'bob' })
  t.match(await seat(({ isMuted }) => isMuted === true), { seatIndex: 3, userId: 'bob', previousUserId: 'bob' })
  await bob.ok('seat:take', { seatIndex: 4 })
  t.match(await seat(({ seatIndex, userId }) => seatIndex === 4 && userId === 'bob'), { isMuted: true })
  t.match(await seat(({ seatIndex, userId }) => seatIndex === 3 && userId === null), { previousUserId: 'bob' })
  await ada.ok('seat:lock', { seatIndex: 4 })
  t.strictSame(await seat(({ isLocked }) => isLocked === true), { seatIndex: 4, userId: null, isMuted: false, isLocked: true, previousUserId: 'bob' })

  await ada.ok('seat:take', { seatIndex: 0 })
  const { id: transportId } = await ada.ok('transport:create', { type: 'producer' })
  await ada.ok('transport:connect', { transportId, dtlsParameters })
  await ada.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })
  const { recordingId } = await until(async () => await ada.ok('recording:start'))
  await ada.ok('broadcast:start')
  t.match((await one.next('broadcast_started')).data, { hlsUrl: '/hls/r1/index.m3u8', startedAt: Number })
  await ada.ok('broadcast:stop')
  t.match((await one.next('broadcast_stopped')).data, { hlsUrl: '/hls/r1/index.m3u8', startedAt: Number, durationSeconds: Number })
  await until(async () => ((await server.admin('GET', `/admin/recordings/${String(recordingId)}`)).body?.files as { bytes: number }[] | undefined)?.some(({ bytes }) => bytes > 0) === true)
  await ada.ok('recording:stop')
  t.match((await one.next('recording_finished')).data, { recordingId, startedBy: 1, reason: 'stopped', files: [{ kind: 'mix', name: 'mix.mp4', bytes: Number }] })

  await ada.ok('broadcast:start')
  await bob.close()
  t.match((await one.next('participant_left')).data, { userId: 'bob', reason: 'disconnected', joinedAt: Number, durationSeconds: Number, participantCount: 1 })
  t.equal((await server.admin('POST', '/admin/rooms/r1/close')).status, 204)
  t.match((await one.next('room_finished')).data, { startedAt: started.data.startedAt, reason: 'closed_by_admin', durationSeconds: Number })
  t.strictSame(one.names('r1').slice(-3), ['broadcast_stopped', 'participant_left', 'room_finished'], 'the end of the room is reported last')
  t.match(one.accepted.at(-2)?.data, { userId: 1, reason: 'closed', participantCount: 0 })

  await ada.ok('room:join', { roomId: 'r1' })
  await until(() => two.accepted.filter(({ event }) => event === 'room_started').length === 2)
  await until(() => one.accepted.length === two.accepted.length)
  t.strictSame(two.accepted.map(({ id }) => id), one.accepted.map(({ id }) => id), 'each URL receives the same webhooks in the same order')
  t.equal(new Set(one.accepted.map(({ id }) => id)).size, one.accepted.length, 'each webhook is accepted once')
  t.strictSame(one.names('r1').slice(0, 3), ['room_started', 'participant_joined', 'participant_joined'])
  for (const received of one.accepted) {
    t.ok(webhook.safeParse(received).success, received.event)
    t.ok(eventData[received.event as EventName].strict().safeParse(received.data).success, `the data of ${received.event} match their schema`)
  }
  t.strictSame(new Set(one.accepted.map(({ event }) => event)), new Set(Object.keys(eventData)), 'every event')
  t.equal(new URL(one.url).pathname + new URL(one.url).search, one.requests[0]?.path)
})

t.test('the feature is on only with WEBHOOK_URLS, and then requires WEBHOOK_SECRET', async (t) => {
  await t.rejects(build(t, { env: { WEBHOOK_URLS: 'https://example.com/hooks' } }), /WEBHOOK_SECRET: is required with WEBHOOK_URLS/)
  await t.rejects(build(t, { env: { WEBHOOK_URLS: 'ftp://example.com', WEBHOOK_SECRET: 'long-enough-secret' } }), /WEBHOOK_URLS: must be http/)
  const server = await build(t)
  t.match(server.app.features.list().find(({ name }) => name === 'webhooks'), { state: 'disabled' })
  t.equal((await server.admin('GET', '/admin/webhooks')).status, 404)
  t.match(await server.admin('POST', '/admin/features/webhooks/enable'), { status: 422, body: { error: { message: /WEBHOOK_URLS/ } } })
})
