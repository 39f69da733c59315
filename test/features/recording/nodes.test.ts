import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { deafen } from '../../support/deaf.ts'
import { speak } from '../../support/mix.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Tests recordings on two servers without a bucket. Each server has its own DATA_DIR.

interface Detail { endedAt: number | null, reason?: string, continues?: string, seconds: number, files: { name: string, kind: string, bytes: number, seconds: number }[] }

const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,media,recording' }
const [first, second] = await Promise.all(['first', 'second'].map(async (NODE_ID) => await build(t, { env: { ...env, NODE_ID } })))
if (!first || !second) throw new Error('The servers did not start')
const get = async (url: string, path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(`${url}/admin/recordings/${path}`, { headers: { authorization: `Bearer ${adminKey}`, ...headers } })
  return { status: response.status, body: Buffer.from(await response.arrayBuffer()) }
}
/**
 * Returns the details of a recording. Only the server that is recording knows the latest sizes of the recording's
 * files.
 */
const detail = async (id: string, { url } = second) => JSON.parse(String((await get(url, id)).body)) as Detail
const owner = await first.connect(1)
const member = await second.connect(2)
await owner.ok('room:join', { roomId: 'r1' })
await member.ok('room:join', { roomId: 'r1' })
const id = String((await until(async () => await owner.ok('recording:start', { tracks: true })))['recordingId'])
let next = ''

t.test('another server continues the recording once the recording server has no members in the room', async (t) => {
  await member.event('recording:started')
  const speaker = await speak(t, first.app, 'r1', { hz: 500 })
  await until(async () => (await detail(id, first)).files.length === 2 && (await detail(id, first)).seconds > 2)
  speaker.vanish()
  await owner.ok('room:leave')
  t.match(await member.event('recording:stopped'), { roomId: 'r1', recordingId: id, reason: 'moved' })
  next = String((await member.event('recording:started'))['recordingId'])
  t.not(next, id)
  await until(async () => (await detail(next)).seconds > 0.5)
  t.match(await detail(next), { continues: id, endedAt: null, files: [{ kind: 'mix' }] })
  t.match(await owner.ok('room:join', { roomId: 'r1' }), { recording: { recordingId: next } })
})

t.test('a server serves the recordings of other servers', async (t) => {
  await until(async () => (await detail(id)).endedAt !== null)
  t.match(await detail(id), { reason: 'moved', files: [{ kind: 'mix' }, { kind: 'voice' }] })
  for (const { name, bytes, seconds } of (await detail(id)).files) {
    const [here, there] = [await get(first.url, `${id}/${name}`), await get(second.url, `${id}/${name}`)]
    t.match([here.status, there.status, there.body.length], [200, 200, bytes])
    t.ok(there.body.equals(here.body))
    const part = await get(second.url, `${id}/${name}`, { range: 'bytes=100-199' })
    t.ok(part.status === 206 && part.body.equals(here.body.subarray(100, 200)))
    const file = await decodeFile(there.body)
    t.ok(Math.abs(file.seconds - seconds) < 0.001 && file.gaps === 0)
    if (name !== 'mix.mp4') t.ok(Math.abs(toneOf(file.samples.subarray(48_000)) - 500) < 1)
  }
  t.equal((await get(second.url, `${id}/nothing.mp4`)).status, 404)
})

/** Until the returned function is called, only the second server checks recordings whose server has no lease. */
const watchOnSecond = (): () => void => {
  const { jobStore } = first.app
  const { takeDue } = jobStore
  jobStore.takeDue = async (queue, ...args) => queue === 'recording-watch' ? [] : await takeDue(queue, ...args)
  return () => Object.assign(jobStore, { takeDue })
}

/** Starts a recording of a room on the first server; both servers have a member of the room. */
const record = async (roomId: string, userId: number) => {
  const [host, other] = [await first.connect(userId), await second.connect(userId + 1)]
  await host.ok('room:join', { roomId })
  await other.ok('room:join', { roomId })
  const recordingId = String((await until(async () => await host.ok('recording:start')))['recordingId'])
  await until(async () => (await detail(recordingId, first)).seconds > 0)
  return { host, other, recordingId }
}

t.test('no server takes over a recording whose server has lost its lease but still runs', async (t) => {
  const { host, recordingId } = await record('r2', 11)
  const { bus, kv, jobs } = second.app
  const { publish } = bus
  let asked = false
  Object.assign(bus, {
    publish: async (...message: Parameters<typeof publish>) => {
      if (message[1].includes('recording:renew')) asked = true
      return await publish(...message)
    }
  })
  t.teardown(() => Object.assign(bus, { publish }))
  const leases = kv.namespace('recording-leases')
  const watchOnBoth = watchOnSecond()
  // As after an outage of Redis, the lease is missing when the second server checks it.
  await until(async () => {
    await leases.delete(recordingId)
    await jobs.schedule('recording-watch', recordingId, 0)
    return asked || host.events.some(({ type }) => type === 'recording:stopped')
  })
  watchOnBoth()
  await until(async () => await leases.get(recordingId) === first.app.nodeId)
  t.match(await detail(recordingId, first), { endedAt: null })
  t.match(await host.ok('room:join', { roomId: 'r2' }), { recording: { recordingId } })
  await host.ok('recording:stop')
})

/**
 * Cuts the first server off from messages until the second server has taken over its recording.
 *
 * @returns a function that ends the partition
 */
const loseRecording = async ({ other, recordingId }: Awaited<ReturnType<typeof record>>): Promise<() => Promise<void>> => {
  const heal = deafen(first)
  const leases = first.app.kv.namespace('recording-leases')
  const { compareAndSet } = leases
  leases.compareAndSet = async () => false
  await leases.delete(recordingId)
  const watchOnBoth = watchOnSecond()
  await until(async () => {
    await second.app.jobs.schedule('recording-watch', recordingId, 0)
    return other.events.some(({ type }) => type === 'recording:stopped')
  })
  watchOnBoth()
  leases.compareAndSet = compareAndSet
  return heal
}

t.test('after a partition, members who missed the end of a recording receive its reason', async (t) => {
  const recorded = await record('r3', 21)
  const { host, recordingId } = recorded
  const heal = await loseRecording(recorded)
  await heal()
  t.match(await host.event('recording:stopped'), { recordingId, reason: 'server_lost' })
  t.match(await host.event('recording:started', (event) => event['recordingId'] !== recordingId), { by: 21 })
  await host.ok('recording:stop')
})

t.test('after a partition, members receive the reason even if a host has started a new recording', async (t) => {
  const recorded = await record('r4', 31)
  const { host, other, recordingId } = recorded
  t.equal((await second.admin('PUT', '/admin/rooms/r4/roles/32', { role: 'admin' })).status, 204)
  const heal = await loseRecording(recorded)
  await other.ok('recording:stop')
  const { recordingId: last } = await until(async () => await other.ok('recording:start'))
  await heal()
  t.match(await host.event('recording:stopped'), { recordingId, reason: 'server_lost' })
  t.match(await host.event('recording:started', (event) => event['recordingId'] !== recordingId), { recordingId: last, by: 32 })
  await other.ok('recording:stop')
})

t.test("if the recording server stops, another server continues, and the stopped server's files are unavailable", async (t) => {
  second.app.drain.begin(0)
  await second.close()
  t.match(await owner.event('recording:stopped', ({ recordingId }) => recordingId === next), { reason: /^(?:moved|server_stopped)$/ })
  const { recordingId: last } = await owner.event('recording:started', ({ recordingId }) => recordingId !== id && recordingId !== next)
  const { status, body } = await get(first.url, `${next}/mix.mp4`)
  t.match({ status, body: JSON.parse(String(body)) }, { status: 503, body: { error: { code: 'UNAVAILABLE' } } })
  t.equal((await get(first.url, `${id}/mix.mp4`)).status, 200)
  t.strictSame(await owner.ok('recording:stop'), { recordingId: last })
  t.match(await owner.event('recording:stopped', ({ recordingId }) => recordingId === last), { reason: undefined })
})
