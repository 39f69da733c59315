import t from 'tap'
import { build } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { speak } from '../../support/mix.ts'
import { until } from '../../support/retry.ts'
import { check, detailOf } from './s3.ts'

// Tests recordings in an S3 bucket. The S3 server is the @20minutes/s3rver package. s3.long.ts also kills servers.

t.test('uploads while recording, and loses no audio while the bucket is unavailable', async (t) => {
  const bucket = await startBucket(t)
  const server = await build(t, { env: { FEATURES: 'auth,media,chat,recording', ...bucket.env } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  await owner.ok('chat:message', { content: 'before' })
  const id = String((await owner.ok('recording:start', { tracks: true }))['recordingId'])
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
