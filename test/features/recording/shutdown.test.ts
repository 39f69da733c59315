import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { build } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { speak } from '../../support/mix.ts'
import { until } from '../../support/retry.ts'
import { detailOf, startBucketProxy, witness } from './s3.ts'
import type { Finished } from './s3.ts'

// Tests recordings that a stopping server ends.

t.test('a stopping server calls recording:finished while the other features still run', async (t) => {
  const finished: Finished[] = []
  const server = await build(t, { env: witness(t, (record) => { finished.push(record) }) })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const { recordingId } = await until(async () => await owner.ok('recording:start'))
  await until(async () => (await detailOf(server.url, String(recordingId))).seconds > 0)
  // The store is slow, so the recording ends after the sessions are closed.
  const index = server.app.kv.namespace('recording-index')
  const { set } = index
  Object.assign(index, {
    set: async (...args: Parameters<typeof set>) => {
      await delay(500)
      await set(...args)
    }
  })
  await server.close()
  t.match(finished, [{ recordingId, endedAt: Number }])
  t.equal(finished.length, 1)
})

t.test('a stopping server waits until the files are in the bucket', async (t) => {
  const bucket = await startBucket(t)
  const url = await startBucketProxy(t, bucket, async (_method, path) => {
    // The uploads of the complete files are slow.
    if (path.startsWith('/recordings/recordings/')) await delay(500)
    return true
  })
  const server = await build(t, { env: { FEATURES: 'auth,media,recording', ...bucket.env, RECORDING_S3_URL: url } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const id = String((await until(async () => await owner.ok('recording:start')))['recordingId'])
  await speak(t, server.app, 'r1', { hz: 500 })
  await until(() => bucket.keys().some((key) => key.startsWith(`recordings-parts/${id}/mix.mp4/`)))
  await server.close()
  t.strictSame(bucket.keys(), ['mix.mp4', 'recording.json'].map((name) => `recordings/${id}/${name}`))
})
