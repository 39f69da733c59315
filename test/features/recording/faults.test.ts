import { mkdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { speak } from '../../support/mix.ts'
import { buildMortal } from '../../support/mortal.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'
import { until } from '../../support/retry.ts'

// The tests of killed servers mostly wait, so they run in parallel.
t.jobs = 2

interface Detail { endedAt: number | null, startedAt: number, reason?: string, seconds: number, files: { name: string, kind: string, bytes: number, seconds: number }[] }

async function read (url: string, path: string): Promise<Buffer> {
  const response = await fetch(`${url}/admin/recordings/${path}`, { headers: { authorization: `Bearer ${adminKey}` } })
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}
const detailOf = async (url: string, id: string) => JSON.parse(String(await read(url, id))) as Detail

t.test('a full disk ends only the affected recording, whose files stay valid', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,chat,recording', RECORDING_MAX_ROOMS: '2' } })
  const [first, second, third] = await Promise.all([1, 2, 3].map(async (id) => await server.connect(id)))
  if (!first || !second || !third) return
  for (const [i, client] of [first, second, third].entries()) await client.ok('room:join', { roomId: `r${i + 1}` })
  const full = String((await until(async () => await first.ok('recording:start', { tracks: true })))['recordingId'])
  const other = String((await until(async () => await second.ok('recording:start', { tracks: true })))['recordingId'])
  t.equal(await third.fails('recording:start'), 'RECORDING_LIMIT')
  // Make every write to a voice file fail, as on a full disk.
  await until(async () => (await detailOf(server.url, full)).seconds > 0)
  symlinkSync('/dev/full', join(server.app.config.DATA_DIR, 'recordings', full, 'voice-1.mp4'))
  for (const roomId of ['r1', 'r2']) await speak(t, server.app, roomId, { hz: 500 })
  t.match(await first.event('recording:stopped'), { recordingId: full, reason: 'disk_full' })
  await until(async () => (await detailOf(server.url, full)).endedAt !== null)
  const detail = await detailOf(server.url, full)
  t.match(detail, { reason: 'disk_full', files: [{ name: 'mix.mp4' }] })
  t.equal(detail.files.length, 1)
  t.ok((await decodeFile(await read(server.url, `${full}/mix.mp4`))).seconds > 0, 'the audio recorded so far can be played')
  await first.ok('chat:message', { content: 'the room goes on' })
  const { seconds } = await detailOf(server.url, other)
  await until(async () => (await detailOf(server.url, other)).seconds > seconds + 1)
  t.match(await detailOf(server.url, other), { endedAt: null }, 'the other recording continues')

  // The disk has less free space than the setting reserves.
  t.equal((await server.admin('PATCH', '/admin/features/recording/config', { minFreeMb: 1_000_000_000 })).status, 200)
  t.equal(await third.fails('recording:start'), 'STORAGE_FULL')
  t.equal(await third.fails('recording:stop'), 'NOT_RECORDING', 'the rejected call starts no recording')
  await second.ok('recording:stop')
})

t.test('a recording ends after RECORDING_MAX_HOURS or when the room is empty', async (t) => {
  const [server, brief] = [await build(t, { env: { FEATURES: 'auth,media,recording' } }), await build(t, { env: { FEATURES: 'auth,media,recording', RECORDING_MAX_HOURS: '0.001' } })]
  const [owner, other] = [await brief.connect(1), await server.connect(2)]
  await owner.ok('room:join', { roomId: 'r1' })
  await other.ok('room:join', { roomId: 'r2' })
  await until(async () => await owner.ok('recording:start'))
  const { recordingId } = await until(async () => await other.ok('recording:start'))
  await until(async () => (await detailOf(server.url, String(recordingId))).seconds > 0)
  await other.ok('room:leave')
  await until(async () => (await detailOf(server.url, String(recordingId))).reason === 'room_closed')
  t.match(await owner.event('recording:stopped'), { reason: 'max_duration' })
})

t.test("a killed server's recording lacks at most the last 2 s, and its index is repaired", { buffered: true }, async (t) => {
  const before = await buildMortal(t, { env: { FEATURES: 'auth,media,recording' } })
  const { url } = before
  const owner = await before.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const { recordingId } = await until(async () => await owner.ok('recording:start', { tracks: true }))
  const id = String(recordingId)
  const startedAt = Date.now()
  await speak(t, before.app, 'r1', { hz: 500 })
  await until(async () => (await detailOf(url, id)).files.length === 2 && (await detailOf(url, id)).seconds > 4)
  const env = before.kill()
  const lasted = (Date.now() - startedAt) / 1000
  const after = await build(t, { env })
  const again = after.url
  const back = await after.connect(1)
  await until(async () => (await detailOf(again, id)).endedAt !== null, 20_000)
  const detail = await detailOf(again, id)
  t.match(detail, { reason: 'server_lost', files: [{ kind: 'mix' }, { kind: 'voice' }] })
  t.match(await back.ok('room:join', { roomId: 'r1' }), { recording: null }, 'the room is no longer recorded')
  for (const { name, bytes, seconds } of detail.files) {
    const data = await read(again, `${id}/${name}`)
    t.equal(data.length, bytes)
    const file = await decodeFile(data)
    t.equal(file.gaps, 0)
    t.ok(Math.abs(file.seconds - seconds) < 0.001)
    t.ok(file.seconds > lasted - 2, `${name}: ${file.seconds} of ${lasted} s`)
    const tone = toneOf(file.samples.subarray(48_000))
    // Allow a difference of 50 Hz, because packets that a busy machine sends too late disturb the recorded tone.
    t.ok(Math.abs(tone - 500) < 50, `${name}: ${tone} Hz`)
  }
})

t.test('a server that dies before it has finished an ended recording finishes it with the same end time and reason', { buffered: true }, async (t) => {
  const finished: { recordingId: string, endedAt: number, reason?: string }[] = []
  let hangs = true
  Object.assign(globalThis, { flyliveFinished: (record: typeof finished[number]) => finished.push(record) && hangs ? new Promise(() => {}) : undefined })
  t.teardown(() => Object.assign(globalThis, { flyliveFinished: undefined }))
  const folder = featureFolder(t)
  folder.write('observer', {
    'index.ts': `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(async (app) => {
  app.hooks.on('recording:finished', async (_roomId, record) => { await globalThis.flyliveFinished(record) })
}, { name: 'observer', dependencies: [] })
`
  })
  const before = await buildMortal(t, { env: { FEATURES: 'auth,media,recording,observer', FEATURES_PATH: folder.path } })
  const owner = await before.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const { recordingId } = await until(async () => await owner.ok('recording:start'))
  await until(async () => (await detailOf(before.url, String(recordingId))).seconds > 0)
  await owner.ok('recording:stop')
  await until(() => finished.length === 1)
  const env = before.kill()
  hangs = false
  const after = await build(t, { env })
  await until(() => finished.length === 2, 20_000)
  const [first, second] = finished
  t.equal(first?.reason, undefined, 'a host stopped the recording')
  t.match(second, { recordingId, endedAt: first?.endedAt, reason: undefined })
  t.match(await detailOf(after.url, String(recordingId)), { endedAt: first?.endedAt, files: [{ kind: 'mix' }] })
})

t.test('a reload before the files of an ended recording are complete does not change its end', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,recording' } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const id = String((await until(async () => await owner.ok('recording:start')))['recordingId'])
  await until(async () => (await detailOf(server.url, id)).seconds > 0)
  // The server cannot complete a file that is a folder.
  const obstacle = join(server.app.config.DATA_DIR, 'recordings', id, 'voice-1.mp4')
  mkdirSync(obstacle)
  await owner.ok('recording:stop')
  const failures = /^flylive_recording_upload_failures_total [1-9]/m
  await until(async () => failures.test(await (await fetch(`${server.url}/metrics`)).text()))
  const stopped = Date.now()
  t.equal((await server.admin('POST', '/admin/features/recording/reload')).status, 200)
  rmdirSync(obstacle)
  const detail = await until(async () => {
    const current = await detailOf(server.url, id)
    return current.endedAt !== null && current
  })
  t.match(detail, { reason: undefined, files: [{ kind: 'mix' }] })
  t.ok(Number(detail.endedAt) <= stopped)
})

t.test('a completely full disk ends a recording, and the members are notified', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,recording' } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const id = String((await until(async () => await owner.ok('recording:start', { tracks: true })))['recordingId'])
  await until(async () => (await detailOf(server.url, id)).seconds > 0)
  // Make every write to the record and to a voice file fail.
  const folder = join(server.app.config.DATA_DIR, 'recordings', id)
  for (const name of ['recording.json.new', 'voice-1.mp4']) symlinkSync('/dev/full', join(folder, name))
  await speak(t, server.app, 'r1', { hz: 500 })
  t.match(await owner.event('recording:stopped'), { recordingId: id, reason: 'disk_full' })
  await until(async () => (await detailOf(server.url, id)).endedAt !== null)
  t.match(await detailOf(server.url, id), { reason: 'disk_full', files: [{ name: 'mix.mp4' }] })
})

t.test('a reload while a recording starts does not end the recording', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,recording' } })
  const { sfu } = server.app
  const { mix } = sfu
  const [asked, goes] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  Object.assign(sfu, {
    mix: async (roomId: string) => {
      asked.resolve()
      await goes.promise
      return await mix(roomId)
    }
  })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const starting = owner.ok('recording:start')
  await asked.promise
  const reloading = server.admin('POST', '/admin/features/recording/reload')
  await until(() => server.app.features.list().find(({ name }) => name === 'recording')?.generation === 2)
  goes.resolve()
  const id = String((await starting)['recordingId'])
  t.equal((await reloading).status, 200)
  await until(async () => (await detailOf(server.url, id)).seconds > 3)
  t.match(await detailOf(server.url, id), { endedAt: null })
  t.strictSame(await owner.ok('recording:stop'), { recordingId: id })
  await until(async () => (await detailOf(server.url, id)).endedAt !== null)
  t.match(await detailOf(server.url, id), { reason: undefined, files: [{ kind: 'mix' }] })
})

t.test('a restarted server removes a recording that is complete on its disk from the room', async (t) => {
  const before = await buildMortal(t, { env: { FEATURES: 'auth,media,recording' } })
  const owner = await before.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const id = String((await until(async () => await owner.ok('recording:start')))['recordingId'])
  await until(async () => (await detailOf(before.url, id)).seconds > 0)
  const env = before.kill()
  // The previous process wrote the complete record, but did not change the room's state.
  const path = join(String(env['DATA_DIR']), 'recordings', id, 'recording.json')
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), endedAt: Date.now(), reason: 'max_duration' }))
  const after = await build(t, { env })
  // The lease of the previous process ends immediately, so that the test is faster.
  await after.app.kv.namespace('recording-leases').delete(id)
  const again = await after.connect(1)
  await until(async () => (await detailOf(after.url, id)).endedAt !== null)
  await until(async () => (await again.ok('room:join', { roomId: 'r1' }))['recording'] === null)
  t.not((await until(async () => await again.ok('recording:start')))['recordingId'], id)
})
