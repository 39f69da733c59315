import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { adminKey, build, tokenFor } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { connect } from '../../support/client.ts'
import { speak } from '../../support/mix.ts'
import { startServer } from '../../support/process.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { toneFeature } from '../../support/tone-feature.ts'

// Recordings in an S3 bucket. The S3 server is the package @20minutes/s3rver.

interface Detail { endedAt: number | null, reason?: string, seconds: number, files: { name: string, kind: string, bytes: number, seconds: number }[], timeline: unknown[] }

async function read (url: string, path: string, headers: Record<string, string> = {}): Promise<Buffer> {
  const response = await fetch(`${url}/admin/recordings/${path}`, { headers: { authorization: `Bearer ${adminKey}`, ...headers } })
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return Buffer.from(await response.arrayBuffer())
}
const detailOf = async (url: string, id: string) => JSON.parse(String(await read(url, id))) as Detail

async function check (t: Test, url: string, id: string, hz: number): Promise<number> {
  let shortest = Infinity
  for (const { name, bytes, seconds } of (await detailOf(url, id)).files) {
    const data = await read(url, `${id}/${name}`)
    t.equal(data.length, bytes)
    t.ok((await read(url, `${id}/${name}`, { range: 'bytes=100-199' })).equals(data.subarray(100, 200)))
    const file = await decodeFile(data)
    t.equal(file.gaps, 0)
    t.ok(Math.abs(file.seconds - seconds) < 0.001)
    // The tone begins some time after the start of the recording, so skip the first second.
    const tone = toneOf(file.samples.subarray(48_000))
    t.ok(Math.abs(tone - hz) < 1, `${name}: ${tone} Hz`)
    shortest = Math.min(shortest, seconds)
  }
  return shortest
}

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

t.test('another server finishes the recording of a killed server', async (t) => {
  const bucket = await startBucket(t)
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,media,recording,tone', FEATURES_PATH: toneFeature(t, 500), ...bucket.env }
  const dataDir = mkdtempSync(join(tmpdir(), 'flylive-recording-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const [first, second] = ['first', 'second'].map((name) => {
    const folder = join(dataDir, name)
    mkdirSync(folder)
    return startServer(t, { ...env, NODE_ID: name, DATA_DIR: folder }, folder)
  })
  if (!first || !second) return
  const [url, other] = [await first.url, await second.url]
  const owner = await connect(t, url, { token: tokenFor(1) })
  // Right after the servers have created their leases, joins may fail.
  await until(async () => await owner.ok('room:join', { roomId: 'r1' }))
  const member = await connect(t, other, { token: tokenFor(2) })
  await until(async () => await member.ok('room:join', { roomId: 'r1' }))
  const { recordingId } = await until(async () => await owner.ok('recording:start', { tracks: true }))
  const id = String(recordingId)
  await member.event('recording:started')
  const startedAt = Date.now()
  await owner.ok('tone:send', { hz: 500 })
  await until(async () => (await detailOf(url, id)).files.length === 2 && (await detailOf(url, id)).seconds > 3)
  first.child.kill('SIGKILL')
  const lasted = (Date.now() - startedAt) / 1000
  t.match(await member.event('recording:stopped'), { recordingId: id, reason: 'server_lost' })
  // A server with members of the room continues with a new recording.
  const { recordingId: next } = await member.event('recording:started', ({ recordingId }) => recordingId !== id)
  await until(() => bucket.keys().some((key) => key === `recordings/${id}/mix.mp4`) && !bucket.keys().some((key) => key.startsWith(`recordings-parts/${id}/`)))
  t.match(await detailOf(other, id), { reason: 'server_lost', files: [{ kind: 'mix' }, { kind: 'voice', userId: 'tone 500' }] })
  const seconds = await check(t, other, id, 500)
  t.ok(seconds > lasted - 2, `${seconds} of ${lasted} s`)
  await until(async () => (await detailOf(other, String(next))).seconds > 0.5)
  t.match(await detailOf(other, String(next)), { continues: id, endedAt: null, files: [{ kind: 'mix' }] })

  // All servers, and the index, are lost.
  await until(() => bucket.keys().some((key) => key.startsWith(`recordings-parts/${String(next)}/mix.mp4/`)))
  second.child.kill('SIGKILL')
  const again = await build(t, { env: { FEATURES: 'auth,media,recording', ...bucket.env } })
  const list = async () => (await again.admin('GET', '/admin/recordings')).body as { recordings: Detail[] }
  await until(async () => (await list()).recordings.filter(({ endedAt }) => endedAt !== null).length === 2, 60_000)
  t.match(await list(), { recordings: [{ recordingId: next, reason: 'server_lost', continues: id }, { recordingId: id, files: [{ kind: 'mix' }, { kind: 'voice' }] }] })
  await check(t, again.url, id, 500)
})
