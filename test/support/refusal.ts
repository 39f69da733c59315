import type { Test } from 'tap'
import { connect, Refused } from './client.ts'
import type { ConnectOptions } from './client.ts'

/** The result of a connection attempt. */
export interface Attempt {
  /** 101 if the connection was accepted. */
  status: number
  code: string
  headers: Record<string, string | string[] | undefined>
}

/**
 * Tries to connect. If the connection is accepted, closes it immediately.
 *
 * @param url http://…
 * @returns the response to the upgrade; `code` is empty if the connection was accepted
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

/**
 * Tries to connect.
 *
 * @returns the status and error code as one string: "401 UNAUTHORIZED", or "101"
 */
export async function outcome (t: Test, url: string, options: ConnectOptions = {}): Promise<string> {
  const { status, code } = await attempt(t, url, options)
  return `${status} ${code}`.trim()
}
