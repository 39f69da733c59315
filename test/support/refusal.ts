import type { Test } from 'tap'
import { connect, Refused } from './client.ts'
import type { ConnectOptions } from './client.ts'

/** What a connection attempt came to, where it may be refused. */
export interface Attempt {
  /** 101 when it was let in. */
  status: number
  code: string
  headers: Record<string, string | string[] | undefined>
}

/**
 * Tries to connect, and hangs up at once when that succeeds.
 *
 * @param url http://…
 * @returns the answer to the upgrade; `code` is empty when it succeeded
 */
export async function attempt (t: Test, url: string, options: ConnectOptions = {}): Promise<Attempt> {
  try {
    const client = await connect(t, url, options)
    await client.close()
    return { status: 101, code: '', headers: {} }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return { status: error.status, code: error.body.error.code, headers: error.headers }
  }
}

/** @returns status and code of an attempt, as one text to compare: "401 UNAUTHORIZED", or "101" */
export async function outcome (t: Test, url: string, options: ConnectOptions = {}): Promise<string> {
  const { status, code } = await attempt(t, url, options)
  return `${status} ${code}`.trim()
}
