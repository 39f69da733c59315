import t from 'tap'
import { build, shortTimings } from '../../support/build.ts'
import { buildMortal } from '../../support/mortal.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { detailOf, witness } from './s3.ts'
import type { Finished } from './s3.ts'
import { isDownload, record } from './take-over.ts'

// A server dies for good while it records a room, or after a recording has ended. Another server finishes the recording.

t.test('another server completes the end of a recording whose server dies during recording:finished', async (t) => {
  const [here, there]: [Finished[], Finished[]] = [[], []]
  const env = { REDIS_URL: await redisDatabase(), RECORDING_MAX_HOURS: '0.001' }
  const dead = Promise.withResolvers<void>()
  const first = await buildMortal(t, { env: { ...env, NODE_ID: 'first', ...witness(t, async (record) => { here.push(record); await dead.promise }) }, timings: shortTimings })
  const second = await build(t, { env: { ...env, NODE_ID: 'second', ...witness(t, (record) => { there.push(record) }) }, timings: shortTimings })
  const [owner, member] = [await first.connect(1), await second.connect(2)]
  await until(async () => await owner.ok('room:join', { roomId: 'r1' }))
  await until(async () => await member.ok('room:join', { roomId: 'r1' }))
  const { recordingId } = await until(async () => await owner.ok('recording:start'))
  await until(() => here.length === 1)
  first.kill()
  await second.app.kv.namespace('recording-leases').delete(String(recordingId))
  await until(() => there.length === 1, 30_000)
  t.match(there, [{ recordingId, endedAt: here[0]?.endedAt, reason: 'max_duration' }])
  t.match(await (await second.connect(3)).ok('room:join', { roomId: 'r1' }), { recording: null })
  // A handler that never returns would delay the end of the test.
  dead.reject(new Error('The server is dead'))
})

t.test('a server that restarts during the take-over of its recording does not shorten the recording', async (t) => {
  const downloading = Promise.withResolvers<boolean>()
  const goes = Promise.withResolvers<boolean>()
  const { kill, second, id, stored } = await record(t, [() => true, async (method, path) => {
    if (!isDownload(method, path)) return true
    downloading.resolve(true)
    return await goes.promise
  }])
  const env = await kill()
  await downloading.promise
  const restarted = await build(t, { env: { ...env, NODE_ID: 'first' } })
  // The restarted server finds the recording on its disk, and looks for the other server's lease every two seconds.
  const leases = restarted.app.kv.namespace('recording-leases')
  const { get } = leases
  let looks = 0
  Object.assign(leases, {
    get: async (key: string) => {
      const holder = await get(key)
      if (holder === second.app.nodeId) looks++
      return holder
    }
  })
  await until(() => looks > 0)
  t.match(await detailOf(restarted.url, id), { endedAt: null })
  t.equal((await second.admin('POST', '/admin/features/recording/reload')).status, 200, 'neither does a reload')
  goes.resolve(true)
  await stored()
})
