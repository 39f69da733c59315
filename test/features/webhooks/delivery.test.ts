import t from 'tap'
import { build, onBothStores, onEveryStore } from '../../support/build.ts'
import { metricOf } from '../../support/metrics.ts'
import { clocksDifferMs } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'
import { startReceiver, webhookEnv } from '../../support/webhook-receiver.ts'
import type { Answer } from '../../support/webhook-receiver.ts'

const features = { FEATURES: 'auth,seats,webhooks' }

// The tests mostly wait, so they run in parallel.
t.jobs = 2

onEveryStore(t, 'a URL that hangs or fails does not delay other URLs or other rooms', async (t, store) => {
  const [good, bad] = [await startReceiver(t), await startReceiver(t)]
  bad.answer = ({ roomId }) => roomId === 'hangs' ? 'hang' : roomId === 'fails' ? 500 : 200
  const server = await build(t, { env: { ...store, ...webhookEnv(good, bad), ...features, WEBHOOK_CONCURRENCY: '4' } })
  const [ada, bob, eve] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  await ada.ok('room:join', { roomId: 'hangs' })
  await bob.ok('room:join', { roomId: 'fails' })
  await until(() => bad.requests.some(({ webhook }) => webhook.roomId === 'hangs') && bad.requests.filter(({ webhook }) => webhook.roomId === 'fails').length > 2)
  await eve.ok('room:join', { roomId: 'works' })
  await bad.next('participant_joined', ({ roomId }) => roomId === 'works')
  for (const roomId of ['hangs', 'fails', 'works']) await good.next('participant_joined', (webhook) => webhook.roomId === roomId)
  t.strictSame([...new Set(bad.requests.filter(({ webhook }) => webhook.roomId === 'fails').map(({ webhook }) => webhook.event))], ['room_started'], 'later webhooks of the room wait')

  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.match(metrics, /flylive_webhook_requests_total\{queue="127\.0\.0\.1-[0-9a-f]{8}",result="error"\} [1-9]/)
  t.match(metrics, /flylive_webhook_events_total\{event="room_started"\} 3/)
  const { body } = await server.admin('GET', '/admin/webhooks')
  const queues = body?.queues as { url: string, pending: number, lastError: object | null }[]
  t.match(queues.find(({ url }) => bad.url.startsWith(url)), { isConfigured: true, pending: 4, oldestAgeSeconds: Number, lastError: { at: Number, reason: 'HTTP 500' } })
  t.match(queues.find(({ url }) => good.url.startsWith(url)), { pending: 0, oldestAgeSeconds: null, lastError: null })

  await until(async () => await metricOf(server, 'flylive_webhook_pending') === 4)
  t.ok(await metricOf(server, 'flylive_webhook_oldest_age_seconds') > 0)

  bad.answer = () => 200
  await bad.next('participant_joined', ({ roomId }) => roomId === 'fails')
  t.strictSame(bad.names('fails'), ['room_started', 'participant_joined'], 'the webhooks are in order')
})

onEveryStore(t, 'honours Retry-After, retries rejections, and does not follow redirects', async (t, store) => {
  const receiver = await startReceiver(t)
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features } })
  const answers: Answer[] = [{ status: 503, headers: { 'retry-after': '1' } }, 401, { status: 302, headers: { location: receiver.url } }, 200]
  receiver.answer = () => answers[receiver.requests.length - 1] ?? 200
  await (await server.connect(1)).ok('room:join', { roomId: 'r1' })
  await receiver.next('participant_joined')
  const { requests } = receiver
  t.equal(requests.length, 5)
  t.ok((requests[1]?.at ?? 0) - (requests[0]?.at ?? 0) >= 1000 - clocksDifferMs, 'waits for the time in Retry-After')
  t.equal(new Set(requests.slice(0, 4).map(({ webhook }) => webhook.id)).size, 1, 'retries have the same id')
})

onEveryStore(t, 'Retry-After also delays the webhooks of other rooms', async (t, store) => {
  const receiver = await startReceiver(t)
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features } })
  receiver.answer = () => receiver.requests.length === 1 ? { status: 429, headers: { 'retry-after': '1' } } : 200
  await (await server.connect(1)).ok('room:join', { roomId: 'r1' })
  const isLimited = async () => ((await server.admin('GET', '/admin/webhooks')).body?.queues as { lastError: object | null }[])[0]?.lastError !== null
  await until(isLimited)
  await (await server.connect(2)).ok('room:join', { roomId: 'r2' })
  await receiver.next('participant_joined', ({ roomId }) => roomId === 'r2')
  const [first, second] = receiver.requests
  t.ok((second?.at ?? 0) - (first?.at ?? 0) >= 1000 - clocksDifferMs)
})

onEveryStore(t, 'retries a webhook until the receiver accepts it, however often and however the receiver rejects it', async (t, store) => {
  const receiver = await startReceiver(t)
  const answers = [...Array<number>(6).fill(404), ...Array<number>(5).fill(410)]
  receiver.answer = () => answers[receiver.requests.length - 1] ?? 200
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features, WEBHOOK_RETRY_MS: '1' } })
  await (await server.connect(1)).ok('room:join', { roomId: 'r1' })
  await receiver.next('participant_joined')
  t.equal(receiver.requests.filter(({ webhook }) => webhook.event === 'room_started').length, answers.length + 1)
  t.match((await server.admin('GET', '/admin/webhooks/dead-letters')).body, { total: 0 })
})

onBothStores(t, 'webhooks that cannot be delivered become dead letters, which admins can list, retry and delete', async (t, store) => {
  const receiver = await startReceiver(t)
  receiver.answer = ({ event }) => event === 'room_started' ? 410 : event === 'participant_joined' ? 422 : 500
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features, WEBHOOK_RETRY_MS: '1', WEBHOOK_RETRY_HOURS: '0' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('seat:take', { seatIndex: 1 })
  const list = async (query = '') => (await server.admin('GET', `/admin/webhooks/dead-letters${query}`)).body as { deadLetters: { id: string, reason: string, webhook: { event: string } }[], nextCursor: string | null, total: number }
  await until(async () => (await list()).total === 3)
  const { deadLetters } = await list()
  t.match(deadLetters, [
    { roomId: 'r1', tries: 1, reason: 'HTTP 410', webhook: { event: 'room_started', roomId: 'r1' } },
    { tries: 1, reason: 'HTTP 422', webhook: { event: 'participant_joined' } },
    { tries: 1, reason: 'HTTP 500', webhook: { event: 'seat_changed' }, deadAt: Number }
  ])
  t.equal(await metricOf(server, 'flylive_webhook_dead_total', { reason: 'expired' }), 3)
  t.equal(await metricOf(server, 'flylive_webhook_duration_seconds', { le: '+Inf' }), 3)
  await until(async () => await metricOf(server, 'flylive_webhook_dead_letters') === 3)
  t.equal(await metricOf(server, 'flylive_webhook_pending'), 0)
  const page = await list('?limit=2')
  t.match(await list(`?limit=2&cursor=${String(page.nextCursor)}`), { deadLetters: [{ id: deadLetters[2]?.id }], nextCursor: null })

  receiver.answer = () => 200
  t.equal((await server.admin('DELETE', `/admin/webhooks/dead-letters/${deadLetters[0]?.id}`)).status, 204)
  t.match(await server.admin('DELETE', `/admin/webhooks/dead-letters/${deadLetters[0]?.id}`), { status: 404, body: { error: { code: 'DEAD_LETTER_NOT_FOUND' } } })
  t.match(await server.admin('POST', '/admin/webhooks/dead-letters/retry', { ids: [deadLetters[1]?.id, 'unknown'] }), { body: { retried: 1 } })
  await receiver.next('participant_joined')
  t.match(await server.admin('POST', '/admin/webhooks/dead-letters/delete'), { body: { deleted: 1 } })
  t.equal((await list()).total, 0)
  t.match(await (await fetch(`${server.url}/metrics`)).text(), /flylive_webhook_dead_total\{queue="[^"]+",reason="expired"\} 3/)
})

onEveryStore(t, 'a full queue moves its oldest webhooks to the dead letters', async (t, store) => {
  const receiver = await startReceiver(t)
  receiver.answer = () => 'hang'
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features, WEBHOOK_QUEUE_LIMIT: '10', WEBHOOK_DEAD_LETTER_LIMIT: '3' }, log: (line) => lines.push(line) })
  const ada = await server.connect(1)
  for (let n = 0; n < 8; n++) await ada.ok('room:join', { roomId: `r${n}` })
  // 8 rooms, 8 joins and 7 leaves cause 23 webhooks. 10 of them stay in the queue.
  await until(async () => ((await server.admin('GET', '/admin/webhooks')).body?.queues as { pending: number }[])[0]?.pending === 10)
  t.match((await server.admin('GET', '/admin/webhooks')).body, { deadLetters: 3 })
  t.match(lines.find(({ code }) => code === 'WEBHOOK_QUEUE_FULL'), { level: 50 })
  await until(async () => (await (await fetch(`${server.url}/metrics`)).text()).includes('flylive_webhook_dead_total{queue="any",reason="overflow"} 13'))
})

onBothStores(t, 'a reload neither loses nor reorders webhooks, even while some are in flight', async (t, store) => {
  const receiver = await startReceiver(t)
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features } })
  const ada = await server.connect(1)
  receiver.answer = () => 'hang'
  await ada.ok('room:join', { roomId: 'r1' })
  await until(() => receiver.requests.length === 1)
  receiver.answer = () => 200
  t.match(await server.admin('POST', '/admin/features/webhooks/reload'), { body: { generation: 2 } })
  await ada.ok('seat:take', { seatIndex: 1 })
  await ada.ok('room:leave')
  await receiver.next('participant_left')
  await receiver.next('seat_changed', ({ data }) => data.userId === null)
  t.strictSame(receiver.names('r1').filter((name) => name !== 'seat_changed'), ['room_started', 'participant_joined', 'participant_left'])
  t.equal(new Set(receiver.accepted.map(({ id }) => id)).size, receiver.accepted.length, 'each is accepted once')
})

onEveryStore(t, 'reports what happened while the feature was off', async (t, store) => {
  const receiver = await startReceiver(t)
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), ...features } })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  await ada.ok('room:join', { roomId: 'r1' })
  await receiver.next('participant_joined')
  await server.admin('POST', '/admin/features/webhooks/disable')
  await ada.ok('room:leave')
  await bob.ok('room:join', { roomId: 'r1' })
  await bob.ok('seat:take', { seatIndex: 2 })
  t.match(await server.admin('POST', '/admin/features/webhooks/enable'), { status: 200 })
  t.match((await receiver.next('participant_left')).data, { userId: 1, reason: 'disconnected' })
  t.match((await receiver.next('participant_joined', ({ data }) => data.userId === 2)).data, { participantCount: 1 })
  t.match((await receiver.next('seat_changed')).data, { seatIndex: 2, userId: 2 })
})

onEveryStore(t, 'reports which rooms went on air or off air while the feature was off', async (t, store) => {
  const receiver = await startReceiver(t)
  const server = await build(t, { env: { ...store, ...webhookEnv(receiver), FEATURES: 'auth,media,broadcast,webhooks' } })
  const [ada, bob, eve, dan] = [await server.connect(1), await server.connect(2), await server.connect(3), await server.connect(4)]
  const started = async (roomId: string) => await receiver.next('broadcast_started', (webhook) => webhook.roomId === roomId)
  await ada.ok('room:join', { roomId: 'goes-on-air' })
  for (const [host, roomId] of [[bob, 'goes-off-air'], [eve, 'is-on-air-again']] as const) {
    await host.ok('room:join', { roomId })
    await host.ok('broadcast:start')
    await started(roomId)
  }
  await receiver.next('participant_joined', ({ roomId }) => roomId === 'goes-on-air')
  await server.admin('POST', '/admin/features/webhooks/disable')
  await ada.ok('broadcast:start')
  await bob.ok('broadcast:stop')
  await eve.ok('broadcast:stop')
  await eve.ok('broadcast:start')
  await dan.ok('room:join', { roomId: 'is-new' })
  await dan.ok('broadcast:start')
  t.match(await server.admin('POST', '/admin/features/webhooks/enable'), { status: 200 })
  t.match((await started('goes-on-air')).data, { hlsUrl: '/hls/goes-on-air/index.m3u8', startedAt: Number })
  t.match((await receiver.next('broadcast_stopped', ({ roomId }) => roomId === 'goes-off-air')).data, { startedAt: (await started('goes-off-air')).data.startedAt })
  await started('is-new')
  await until(() => receiver.names('is-on-air-again').length === 5)
  t.strictSame(receiver.names('is-on-air-again'), ['room_started', 'participant_joined', 'broadcast_started', 'broadcast_stopped', 'broadcast_started'])
  t.strictSame(receiver.names('is-new'), ['room_started', 'participant_joined', 'broadcast_started'])

  // The feature compares all rooms again, and reports no broadcast a second time.
  await server.admin('POST', '/admin/features/webhooks/disable')
  await dan.ok('broadcast:stop')
  await server.admin('POST', '/admin/features/webhooks/enable')
  await receiver.next('broadcast_stopped', ({ roomId }) => roomId === 'is-new')
  t.equal(receiver.accepted.filter(({ event }) => event === 'broadcast_started').length, 5)
})
