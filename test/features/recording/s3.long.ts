import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { connect } from '../../support/client.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { toneFeature } from '../../support/tone-feature.ts'
import { check, detailOf } from './s3.ts'
import type { Detail } from './s3.ts'

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
  // Joins may fail right after the servers create their leases.
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
  // Another server that has members of the room starts a new recording, which continues the killed server's recording.
  const { recordingId: next } = await member.event('recording:started', ({ recordingId }) => recordingId !== id)
  await until(() => bucket.keys().some((key) => key === `recordings/${id}/mix.mp4`) && !bucket.keys().some((key) => key.startsWith(`recordings-parts/${id}/`)))
  t.match(await detailOf(other, id), { reason: 'server_lost', files: [{ kind: 'mix' }, { kind: 'voice', userId: 'tone 500' }] })
  const seconds = await check(t, other, id, 500)
  t.ok(seconds > lasted - 2, `${seconds} of ${lasted} s`)
  await until(async () => (await detailOf(other, String(next))).seconds > 0.5)
  t.match(await detailOf(other, String(next)), { continues: id, endedAt: null, files: [{ kind: 'mix' }] })

  // Simulate the loss of all servers and of the index.
  await until(() => bucket.keys().some((key) => key.startsWith(`recordings-parts/${String(next)}/mix.mp4/`)))
  second.child.kill('SIGKILL')
  const again = await build(t, { env: { FEATURES: 'auth,media,recording', ...bucket.env } })
  const list = async () => (await again.admin('GET', '/admin/recordings')).body as { recordings: Detail[] }
  await until(async () => (await list()).recordings.filter(({ endedAt }) => endedAt !== null).length === 2, 60_000)
  t.match(await list(), { recordings: [{ recordingId: next, reason: 'server_lost', continues: id }, { recordingId: id, files: [{ kind: 'mix' }, { kind: 'voice' }] }] })
  await check(t, again.url, id, 500)
})
