import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { speak } from '../../support/mix.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'
import { until } from '../../support/retry.ts'

interface Detail { startedAt: number, endedAt: number | null, seconds: number, files: { name: string, bytes: number, seconds: number }[] }

t.test('no audio is lost while the bucket is unavailable for 60 s', async (t) => {
  const bucket = await startBucket(t)
  const server = await build(t, { env: { FEATURES: 'auth,media,recording', ...bucket.env } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const { recordingId } = await owner.ok('recording:start', { tracks: true })
  const path = `/admin/recordings/${String(recordingId)}`
  const detail = async () => (await server.admin('GET', path)).body as unknown as Detail
  await speak(t, server.app, 'r1', { hz: 500 })
  await until(() => bucket.keys().length > 0)
  bucket.cut()
  const { seconds } = await detail()
  await until(async () => (await detail()).seconds > seconds + 60, 90_000)
  bucket.restore()
  const after = bucket.keys().length
  await until(() => bucket.keys().length > after)
  await owner.ok('recording:stop')
  await until(() => bucket.keys().includes(`recordings/${String(recordingId)}/mix.mp4`) && bucket.keys().every((key) => key.startsWith('recordings/')), 30_000)
  const { files, startedAt, endedAt } = await detail()
  for (const { name, bytes, seconds } of files) {
    const response = await fetch(`${server.url}${path}/${name}`, { headers: { authorization: `Bearer ${adminKey}` } })
    const data = Buffer.from(await response.arrayBuffer())
    t.equal(data.length, bytes)
    const file = await decodeFile(data)
    t.equal(file.gaps, 0)
    t.ok(Math.abs(file.seconds - seconds) < 0.001)
    t.ok(Math.abs(file.seconds - ((endedAt ?? 0) - startedAt) / 1000) < 1, `${name}: ${file.seconds} s`)
    const hz = toneOf(file.samples.subarray(48_000))
    t.ok(Math.abs(hz - 500) < 1, `${name}: ${hz} Hz`)
  }
})
