import type { Test } from 'tap'
import { build, shortTimings } from '../../support/build.ts'
import { startBucket } from '../../support/bucket.ts'
import { speak } from '../../support/mix.ts'
import { buildMortal } from '../../support/mortal.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { check, detailOf, startBucketProxy } from './s3.ts'

/** Whether a request to the bucket downloads a part of the mix. */
export const isDownload = (method: string, path: string) => method === 'GET' && path.includes('/mix.mp4/')

/**
 * Records a room on the first of two servers. Each server reaches the bucket through its own proxy.
 *
 * @param pass see {@link startBucketProxy}; the functions of the first and the second server
 */
export async function record (t: Test, pass: readonly ((method: string, path: string) => boolean | Promise<boolean>)[]) {
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
