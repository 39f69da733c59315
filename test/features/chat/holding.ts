import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { createProxy } from '../../support/proxy.ts'
import type { TestRedis } from '../../support/redis.ts'

/** A way to Redis that can be made to hold back what a server says from a certain text on. */
export async function holding (t: Test, redis: TestRedis) {
  let wanted: RegExp | undefined
  let held: { chunk: Buffer, far: Socket }[] = []
  let came = Promise.withResolvers<void>()
  const { port } = await createProxy(t, () => redis.port, (chunk, far) => {
    if (!held.some((other) => other.far === far) && !wanted?.test(chunk.toString('latin1'))) return far.write(chunk)
    held.push({ chunk, far })
    came.resolve()
  })
  return {
    url: `redis://127.0.0.1:${port}/3`,
    /** @returns once that text has come and is held back, with all that follows it on its connection */
    hold (what: RegExp): Promise<void> {
      wanted = what
      came = Promise.withResolvers()
      return came.promise
    },
    /** Redis gets what it was to get. */
    release () {
      for (const { chunk, far } of held) far.write(chunk)
      held = []
      wanted = undefined
    },
    /** Redis never gets it: the connection breaks. */
    drop () {
      for (const { far } of held) far.destroy()
      held = []
      wanted = undefined
    }
  }
}
