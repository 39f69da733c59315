import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

t.test('deletes recordings after RECORDING_DAYS', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media,recording' } })
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'r1' })
  const ids: string[] = []
  for (let i = 0; i < 2; i++) {
    const { recordingId } = await until(async () => await owner.ok('recording:start'))
    ids.unshift(String(recordingId))
    const path = `/admin/recordings/${String(recordingId)}`
    await until(async () => ((await server.admin('GET', path)).body?.['seconds'] as number) > 0)
    await owner.ok('recording:stop')
    await until(async () => (await server.admin('GET', path)).body?.['endedAt'] !== null)
  }
  const list = async (query = '') => (await server.admin('GET', `/admin/recordings${query}`)).body as { recordings: { recordingId: string }[], nextCursor: string | null }
  const first = await list('?limit=1')
  t.match(first, { recordings: [{ recordingId: ids[0] }], nextCursor: String }, 'newest first')
  t.match(await list(`?limit=1&cursor=${String(first.nextCursor)}`), { recordings: [{ recordingId: ids[1] }], nextCursor: null })

  t.equal((await server.admin('PATCH', '/admin/features/recording/config', { days: 1 })).status, 200)
  t.equal((await list()).recordings.length, 2, 'a day has not passed')
  // Expired recordings are deleted when the feature starts, and then every 10 minutes.
  t.equal((await server.admin('PATCH', '/admin/features/recording/config', { days: 1e-9 })).status, 200)
  await until(async () => (await list()).recordings.length === 0)
  t.strictSame(readdirSync(join(server.app.config.DATA_DIR, 'recordings')), [])
})
