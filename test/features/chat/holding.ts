import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { createProxy } from '../../support/proxy.ts'
import type { TestRedis } from '../../support/redis.ts'

/**
 * Creates a Redis proxy that can hold back a server's commands, starting with the first command that matches a pattern.
 */
export async function createHoldingProxy (t: Test, redis: TestRedis) {
  let wanted: RegExp | undefined
  let held: { chunk: Buffer, far: Socket }[] = []
  let arrived = Promise.withResolvers<void>()
  const { port } = await createProxy(t, () => redis.port, (chunk, far) => {
    if (!held.some((other) => other.far === far) && !wanted?.test(chunk.toString('latin1'))) return far.write(chunk)
    held.push({ chunk, far })
    arrived.resolve()
  })
  return {
    url: `redis://127.0.0.1:${port}/3`,
    /**
     * Resolves when a matching command arrives. The proxy holds this command and all later commands on the same
     * connection.
     */
    hold (what: RegExp): Promise<void> {
      wanted = what
      arrived = Promise.withResolvers()
      return arrived.promise
    },
    release () {
      for (const { chunk, far } of held) far.write(chunk)
      held = []
      wanted = undefined
    },
    /** Discards the held commands and closes the connection. */
    drop () {
      for (const { far } of held) far.destroy()
      held = []
      wanted = undefined
    }
  }
}
