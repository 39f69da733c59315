import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { metricOf } from '../../support/metrics.ts'
import { speak } from '../../support/mix.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'
import { until } from '../../support/retry.ts'

// Tests a recording on one server's disk: who is allowed to start and stop the recording, which events members receive,
// and what the files contain.

const server = await build(t, { env: { FEATURES: 'auth,media,seats,chat,moderation,recording' } })
const owner = await server.connect(1)
const member = await server.connect(2)
const joined = await owner.ok('room:join', { roomId: 'r1' })
await member.ok('room:join', { roomId: 'r1' })
const root = join(server.app.config.DATA_DIR, 'recordings')

async function get (path: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${server.url}/admin/recordings${path}`, { headers: { authorization: `Bearer ${adminKey}`, ...headers } })
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) }
}

interface Detail { recordingId: string, startedAt: number, endedAt: number | null, reason?: string, files: { name: string, kind: string, userId?: string | number, bytes: number, seconds: number }[], timeline: Record<string, unknown>[] }
const detail = async (id: string) => JSON.parse(String((await get(`/${id}`)).body)) as Detail
const codeOf = (body: Buffer) => (JSON.parse(String(body)) as { error: { code: string } }).error.code

let recordingId = ''

t.test('only the owner and admins can start and stop recordings, and all members are notified', async (t) => {
  t.match(joined, { recording: null })
  t.equal(await member.fails('recording:start'), 'FORBIDDEN')
  t.equal(await member.fails('recording:stop'), 'FORBIDDEN')
  t.equal(await owner.fails('recording:stop'), 'NOT_RECORDING')
  t.equal(await owner.fails('recording:start', { tracks: 'yes' }), 'VALIDATION_FAILED')
  t.equal((await get('')).status, 200)
  t.match(JSON.parse(String((await get('')).body)), { recordings: emptyArray, nextCursor: null }, 'the rejected commands have no effect')
  const reply = await until(async () => await owner.ok('recording:start', { tracks: true }))
  t.strictSame(Object.keys(reply), ['recordingId'])
  recordingId = String(reply['recordingId'])
  for (const client of [owner, member]) t.strictSame(await client.event('recording:started'), { roomId: 'r1', recordingId, by: 1 })
  t.strictSame(await owner.ok('recording:start'), reply, 'starting again has no effect')
  const third = await server.connect(3)
  t.match(await third.ok('room:join', { roomId: 'r1' }), { recording: { recordingId } })
  t.equal(await metricOf(server, 'flylive_recordings_active'), 1)
})

t.test('the files contain every sample, even across a reload', async (t) => {
  await member.ok('seat:take', { seatIndex: 3 })
  const low = await speak(t, server.app, 'r1', { hz: 450, amplitude: 0.3, owner: { userId: 2, userKey: '2', nodeId: server.app.nodeId, sessionId: String(member.greeting['sessionId']), kind: 'session' } })
  const high = await speak(t, server.app, 'r1', { hz: 1000, amplitude: 0.3 })
  await member.ok('chat:message', { content: 'hello' })
  const { id } = await member.ok('chat:message', { content: 'a secret' })
  await owner.ok('chat:delete', { id })
  await until(async () => (await detail(recordingId)).files.length === 3 && (await detail(recordingId)).files.every(({ seconds }) => seconds >= 2))
  t.match(await server.admin('POST', '/admin/features/recording/reload'), { status: 200, body: { generation: 2 } })
  const { seconds } = (await detail(recordingId)).files[0] as { seconds: number }
  await until(async () => ((await detail(recordingId)).files[0]?.seconds ?? 0) >= seconds + 2)
  low.vanish()
  high.vanish()
  t.match(await get(`/${recordingId}`, {}), { status: 200 })
  t.equal((await server.admin('DELETE', `/admin/recordings/${recordingId}`)).status, 409, 'a running recording cannot be deleted')
  t.strictSame(await owner.ok('recording:stop'), { recordingId })
  for (const client of [owner, member]) t.strictSame(await client.event('recording:stopped'), { roomId: 'r1', recordingId })
  t.equal(await owner.fails('recording:stop'), 'NOT_RECORDING')
  await until(async () => (await detail(recordingId)).endedAt !== null)

  const { files, startedAt, endedAt, timeline } = await detail(recordingId)
  t.same(files.map(({ kind }) => kind), ['mix', 'voice', 'voice'])
  await until(async () => await metricOf(server, 'flylive_recordings_total', { reason: 'stopped' }) === 1)
  t.equal(await metricOf(server, 'flylive_recordings_total'), 1)
  t.equal(await metricOf(server, 'flylive_recording_bytes_total'), files.reduce((sum, { bytes }) => sum + bytes, 0))
  t.equal(await metricOf(server, 'flylive_recordings_active'), 0)
  const decoded = await Promise.all(files.map(async ({ name, bytes, seconds }) => {
    const { body, headers } = await get(`/${recordingId}/${name}`)
    t.equal(headers.get('content-type'), 'audio/mp4')
    t.equal(body.length, bytes)
    const file = await decodeFile(body)
    t.equal(file.gaps, 0, `${name} has no gaps`)
    t.ok(Math.abs(file.seconds - seconds) < 0.001, `${name} is as long as the index says`)
    t.ok(Math.abs(file.seconds - ((endedAt ?? 0) - startedAt) / 1000) < 1.5, `${name} is as long as the recording: ${file.seconds}`)
    return file
  }))
  const [mix, ...voices] = decoded
  const measured = voices.map(({ samples }) => toneOf(samples.subarray(48_000, -24_000)))
  t.strictSame(measured.map((hz) => Math.abs(hz - 450) < 1 || Math.abs(hz - 1000) < 1), [true, true], `tones of ${measured.join(' and ')} Hz`)
  t.ok((mix?.samples.length ?? 0) > 0)
  t.match(timeline.filter(({ type }) => type === 'seat'), [{ seatIndex: 3, userId: 2 }])
  t.match(timeline.filter(({ type }) => type === 'chat'), [{ userId: 2, name: 'User 2', content: 'hello' }], 'deleted messages are left out')
  t.match(timeline.find(({ type }) => type === 'speakers'), { userIds: [2], at: Number })
  const vtt = await get(`/${recordingId}/speakers.vtt`)
  t.match(String(vtt.body), /^WEBVTT\n\n00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}\n<v User 2>User 2<\/v>/)
  t.match(vtt.headers.get('content-type'), 'text/vtt')
  t.match((await get(`/${recordingId}/speakers.vtt`, { accept: 'audio/webvtt' })).headers.get('content-type'), 'audio/webvtt')
})

t.test('serves whole files and ranges of recordings, but no other files', async (t) => {
  const whole = (await get(`/${recordingId}/mix.mp4`)).body
  const part = await get(`/${recordingId}/mix.mp4`, { range: 'bytes=10-19' })
  t.match({ status: part.status, range: part.headers.get('content-range') }, { status: 206, range: `bytes 10-19/${whole.length}` })
  t.ok(part.body.equals(whole.subarray(10, 20)))
  t.ok((await get(`/${recordingId}/mix.mp4`, { range: 'bytes=-5' })).body.equals(whole.subarray(-5)))
  t.ok((await get(`/${recordingId}/mix.mp4`, { range: `bytes=${whole.length - 3}-` })).body.equals(whole.subarray(-3)))
  for (const range of [`bytes=${whole.length}-`, 'bytes=5-4', 'bytes=-0', 'bytes=x', 'bytes=-', 'bytes=0-1,3-4', 'bytes=99999999999999999999-']) {
    const refused = await get(`/${recordingId}/mix.mp4`, { range })
    t.match({ status: refused.status, code: codeOf(refused.body), range: refused.headers.get('content-range') }, { status: 416, code: 'RANGE_NOT_SATISFIABLE', range: `bytes */${whole.length}` }, range)
  }
  for (const name of ['nothing.mp4', 'recording.json', 'timeline.jsonl', '..%2f..%2fkv.sqlite', '%2e%2e%2frecording.json', '..%5cx', '%00', 'mix.mp4%2f..']) {
    const refused = await get(`/${recordingId}/${name}`)
    t.ok([400, 404].includes(refused.status) && /^[A-Z_]+$/.test(codeOf(refused.body)), `${name}: ${refused.status}`)
  }
  for (const id of ['nothing', '..%2f..', '0'.repeat(300), recordingId.replace(/.$/, (last) => last === '0' ? '1' : '0'), `${recordingId}%2f..`]) {
    t.match(await get(`/${id}`), { status: 404 }, id)
    t.match(await get(`/${id}/mix.mp4`), { status: 404 }, id)
    t.equal((await server.admin('DELETE', `/admin/recordings/${id}`)).status, 404)
  }
  t.equal((await get('?limit=0')).status, 400)
  t.equal((await get('?limit=x')).status, 400)
  t.equal((await fetch(`${server.url}/admin/recordings/${recordingId}/mix.mp4`)).status, 401, 'a request without the admin key is rejected')
})

t.test('deletes a recording', async (t) => {
  t.equal((await server.admin('DELETE', `/admin/recordings/${recordingId}`)).status, 204)
  t.equal((await server.admin('DELETE', `/admin/recordings/${recordingId}`)).status, 404)
  t.strictSame(readdirSync(root), [])
})
