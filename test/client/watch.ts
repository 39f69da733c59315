import type { Test } from 'tap'
import { Connection, RoomClient } from '../../client/index.ts'
import type { ConnectionOptions, RequestError, RoomOptions } from '../../client/index.ts'
import { tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'

export interface Watched {
  connection: Connection
  /** All states so far. If a state was caused by an error, the error code follows: `waiting CONNECTION_LOST`. */
  states: string[]
  /**
   * Waits until the connection reaches a state. Each call ignores all states up to the one that the previous call
   * found.
   */
  reached (state: string): Promise<void>
  /** Cause of the current state. */
  why (): RequestError | undefined
}

/** Short reconnect delays. */
export const backoff = { firstMs: 20, longestMs: 100 }

/**
 * Tries to join a room as user 1, or as the user in `options`. Retries if the client does not reach the server within
 * its short timeout, because the machine is busy.
 *
 * @returns why the client could not join
 */
export async function rejectionOf (t: Test, options: Partial<RoomOptions> & { url: string }): Promise<RequestError> {
  return await until(async () => {
    const room = new RoomClient({ token: () => tokenFor(1), audio: false, backoff, connectTimeoutMs: 500, ...options })
    t.teardown(() => room.close())
    const why = await room.join('r1').then(() => { throw new Error('The client has joined') }, (error: RequestError) => error)
    return why.code !== 'UNREACHABLE' && why
  })
}

/** Creates a connection for user 1, or for the token in `options`. The connection is closed after the test. */
export function watch (t: Test, options: Partial<ConnectionOptions> & { url: string }): Watched {
  const connection = new Connection({ token: () => tokenFor(1), backoff, ...options })
  t.teardown(() => connection.close())
  const states: string[] = []
  let seen = 0
  let last: RequestError | undefined
  connection.on('state', (state, why) => {
    last = why
    states.push(why ? `${state} ${why.code}` : state)
  })
  return {
    connection,
    states,
    why: () => last,
    async reached (state) {
      const at = await until(() => {
        const index = states.indexOf(state, seen)
        return index === -1 ? false : index + 1
      })
      seen = at
    }
  }
}
