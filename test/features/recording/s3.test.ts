import t from 'tap'
import { build } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { speak } from '../../support/mix.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { check, detailOf, startBucketProxy } from './s3.ts'

// Tests recordings in an S3 bucket. The S3 server is the @20minutes/s3rver package. s3.long.ts also kills servers.

t.test('uploads while recording, and loses no audio while the bucket is unavailable', async (t) => {
  const bucket = await startBucket(t)
  const server = await build(t, { env: { FEATURES: 'auth,media,chat,recording', ...bucket.env } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  await owner.ok('chat:message', { content: 'before' })
  const id = String((await until(async () => await owner.ok('recording:start', { tracks: true })))['recordingId'])
  await speak(t, server.app, 'r1', { hz: 500 })
  await owner.ok('chat:message', { content: 'hello' })
  await until(() => bucket.keys().some((key) => key.startsWith(`recordings-parts/${id}/mix.mp4/`)))
  bucket.cut()
  const before = (await detailOf(server.url, id)).seconds
  await until(async () => (await detailOf(server.url, id)).seconds > before + 2)
  await owner.ok('recording:stop')
  await until(async () => (await detailOf(server.url, id)).endedAt !== null)
  t.ok(await check(t, server.url, id, 500) > before + 2, 'the files are on the server')
  bucket.restore()
  await until(() => bucket.keys().every((key) => !key.startsWith('recordings-parts/')) && bucket.keys().length === 4)
  t.strictSame(bucket.keys(), ['mix.mp4', 'recording.json', 'timeline.jsonl', 'voice-1.mp4'].map((name) => `recordings/${id}/${name}`))
  t.ok(await check(t, server.url, id, 500) > before + 2, 'the files are in the bucket')
  t.match((await detailOf(server.url, id)).timeline, [{ type: 'chat', content: 'hello' }])
  t.equal((await server.admin('DELETE', `/admin/recordings/${id}`)).status, 204)
  t.strictSame(bucket.keys(), [])
})

t.test('a recording that is deleted while another server uploads it stays deleted', async (t) => {
  const bucket = await startBucket(t)
  const [asked, goes] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const url = await startBucketProxy(t, bucket, async (method, path) => {
    if (method !== 'PUT' || !/recordings\/[^/]+\/recording\.json$/.test(path)) return true
    asked.resolve()
    await goes.promise
    return true
  })
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,media,recording', ...bucket.env }
  const first = await build(t, { env: { ...env, NODE_ID: 'first', RECORDING_S3_URL: url } })
  const second = await build(t, { env: { ...env, NODE_ID: 'second' } })
  const owner = await first.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const id = String((await until(async () => await owner.ok('recording:start')))['recordingId'])
  await speak(t, first.app, 'r1', { hz: 500 })
  await until(async () => (await detailOf(first.url, id)).seconds > 0)
  await owner.ok('recording:stop')
  await asked.promise
  const { bus } = second.app
  const { publish } = bus
  const told = new Promise<void>((resolve) => {
    Object.assign(bus, {
      publish: async (...message: Parameters<typeof publish>) => {
        if (message[1].includes('recording:delete')) resolve()
        return await publish(...message)
      }
    })
  })
  const deleting = second.admin('DELETE', `/admin/recordings/${id}`)
  await told
  goes.resolve()
  t.equal((await deleting).status, 204)
  await until(async () => (await (await fetch(`${first.url}/metrics`)).text()).includes('flylive_recording_waiting 0'))
  t.equal((await second.admin('GET', `/admin/recordings/${id}`)).status, 404)
  t.strictSame(bucket.keys(), [])
})
