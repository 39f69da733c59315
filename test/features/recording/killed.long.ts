import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { adminKey, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { startServer } from '../../support/process.ts'
import { decodeFile, toneOf } from '../../support/recordings.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { toneFeature } from '../../support/tone-feature.ts'

// Kills 20 recording servers with SIGKILL at random times, alternating between the two stores. After the restart, each
// recording must be playable and lack no more than the last 2 s.

interface Detail { endedAt: number | null, reason?: string, seconds: number, files: { name: string, kind: string, bytes: number, seconds: number }[] }

const runs = 20
const features = toneFeature(t, 500, 750)
const lost: number[] = []

async function read (url: string, path: string): Promise<Buffer> {
  const response = await fetch(`${url}/admin/recordings/${path}`, { headers: { authorization: `Bearer ${adminKey}` } })
  if (!response.ok) throw new Error(`${path}: ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}
const detailOf = async (url: string, id: string) => JSON.parse(String(await read(url, id))) as Detail

for (let run = 0; run < runs; run++) {
  t.test(`run ${run + 1}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'flylive-recording-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const dataDir = join(folder, 'data')
    mkdirSync(dataDir)
    const env: Record<string, string> = { DATA_DIR: dataDir, FEATURES: 'auth,media,recording,tone', FEATURES_PATH: features, ...(run % 2 === 0 ? {} : { REDIS_URL: await redisDatabase() }) }
    const before = startServer(t, env, folder)
    const url = await before.url
    const owner = await connect(t, url, { token: tokenFor(1) })
    await until(async () => await owner.ok('room:join', { roomId: 'r1' }))
    const { recordingId } = await until(async () => await owner.ok('recording:start', { tracks: true }))
    const id = String(recordingId)
    const startedAt = performance.now()
    for (const hz of [500, 750]) await owner.ok('tone:send', { hz })
    const killAfter = 3000 + run * 137
    await until(async () => performance.now() - startedAt > killAfter && (await detailOf(url, id)).files.length === 3)
    before.child.kill('SIGKILL')
    const lasted = (performance.now() - startedAt) / 1000
    await before.exit

    const after = startServer(t, env, folder)
    const again = await after.url
    await until(async () => (await detailOf(again, id)).endedAt !== null, 60_000)
    const detail = await detailOf(again, id)
    t.match(detail, { reason: 'server_lost' })
    t.strictSame(detail.files.map(({ kind }) => kind), ['mix', 'voice', 'voice'])
    for (const { name, bytes, seconds } of detail.files) {
      const data = await read(again, `${id}/${name}`)
      t.equal(data.length, bytes)
      const file = await decodeFile(data)
      t.equal(file.gaps, 0)
      t.ok(Math.abs(file.seconds - seconds) < 0.001, 'the index has the correct duration')
      t.ok(file.seconds > lasted - 2, `${name}: ${file.seconds} of ${lasted} s`)
      lost.push(lasted - file.seconds)
      if (name === 'mix.mp4') continue
      const tone = toneOf(file.samples.subarray(48_000))
      t.ok([500, 750].some((hz) => Math.abs(tone - hz) < 1), `${name}: ${tone} Hz`)
    }
    after.child.kill('SIGKILL')
    await after.exit
  })
}

t.test('prints how much audio was lost', async (t) => {
  t.comment(`at most ${Math.max(...lost).toFixed(2)} s of ${lost.length} files`)
})
