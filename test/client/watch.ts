import type { Test } from 'tap'
import { Connection } from '../../client/index.ts'
import type { ConnectionOptions, RequestError } from '../../client/index.ts'
import { tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'

/** A connection whose states are remembered. */
export interface Watched {
  connection: Connection
  /** Each state it has had, with the code of what led to it, like `waiting CONNECTION_LOST`. */
  states: string[]
  /** Waits for the next state of that kind that was not waited for yet. */
  reached (state: string): Promise<void>
  /** Why the state is as it is. */
  why (): RequestError | undefined
}

/** Quick, for tests. */
export const backoff = { firstMs: 20, longestMs: 100 }

/** A connection that ends with the test; as user 1, unless a token is given. */
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
