import t from 'tap'
import type { Test } from 'tap'
import { build, shortTimings } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { speak } from '../../support/mix.ts'
import { buildMortal } from '../../support/mortal.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { check, detailOf, startBucketProxy, witness } from './s3.ts'
import type { Finished } from './s3.ts'

// A server dies for good while it records a room, or after a recording has ended. Another server finishes the recording.

const isDownload = (method: string, path: string) => method === 'GET' && path.includes('/mix.mp4/')

/**
 * Records a room on the first of two servers. Each server reaches the bucket through its own proxy.
 *
 * @param pass see {@link startBucketProxy}; the functions of the first and the second server
 */
async function record (t: Test, pass: readonly ((method: string, path: string) => boolean | Promise<boolean>)[]) {
  const bucket = await startBucket(t)
  const [firstUrl, secondUrl] = await Promise.all(pass.map(async (one) => await startBucketProxy(t, bucket, one)))
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,media,recording', ...bucket.env }
  const first = await buildMortal(t, { env: { ...env, NODE_ID: 'first', RECORDING_S3_URL: String(firstUrl) }, reaches: ['REDIS_URL', 'RECORDING_S3_URL'], timings: shortTimings })
  const second = await build(t, { env: { ...env, NODE_ID: 'second', RECORDING_S3_URL: String(secondUrl) }, timings: shortTimings })
  const owner = await first.connect(1)
  await until(async () => await owner.ok('room:join', { roomId: 'r1' }))
  const id = String((await until(async () => await owner.ok('recording:start')))['recordingId'])
  await speak(t, first.app, 'r1', { hz: 500 })
  const parts = () => bucket.keys().filter((key) => key.startsWith(`recordings-parts/${id}/mix.mp4/`))
  await until(() => parts().length > 5)
  const { seconds } = await detailOf(first.url, id)
  /** Waits until the complete files are in the bucket, and checks them. */
  const stored = async () => {
    await until(() => bucket.keys().includes(`recordings/${id}/recording.json`) && parts().length === 0, 30_000)
    const length = await check(t, second.url, id, 500)
    t.ok(length > seconds - 2, `${length} of ${seconds} s`)
  }
  /**
   * Kills the first server. Its lease of the recording ends immediately, so that the test is faster.
   *
   * @returns the environment for a later server
   */
  const kill = async () => {
    const left = first.kill()
    await second.app.kv.namespace('recording-leases').delete(id)
    return left
  }
  return { kill, second, owner, id, stored }
}

t.test('another server finishes a recording that has ended but is not uploaded', async (t) => {
  const uploading = Promise.withResolvers<boolean>()
  const { kill, second, owner, id, stored } = await record(t, [async (_method, path) => {
    if (!path.startsWith('/recordings/recordings/')) return true
    uploading.resolve(true)
    return await new Promise<boolean>(() => {})
  }, () => true])
  await owner.ok('recording:stop')
  await uploading.promise
  const { endedAt } = await detailOf(second.url, id)
  await kill()
  await stored()
  const detail = await detailOf(second.url, id)
  t.match(detail, { endedAt })
  t.equal(detail.reason, undefined, 'a host stopped the recording')
})

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

t.test('a take-over downloads the parts again if the bucket fails during the download', async (t) => {
  let downloads = 0
  const { kill, stored } = await record(t, [() => true, (method, path) => !isDownload(method, path) || ++downloads < 3 || downloads > 8])
  await kill()
  await stored()
  t.ok(downloads > 8)
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
