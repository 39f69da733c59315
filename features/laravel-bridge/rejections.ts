import { BackendFailed } from './errors.ts'

/** Errors of calls that the backend rejected with 4xx, except 429. */
const rejections = new WeakSet<Error>()

/** True if the backend rejected a call with 4xx. An immediate retry of a rejected call would also fail. */
export const isRejection = (error: unknown): boolean => error instanceof Error && rejections.has(error)

/**
 * Creates the error for a call that the backend rejected.
 *
 * @param status 4xx
 */
export function rejection (status: number): Error {
  const error = new BackendFailed(`request rejected with HTTP ${status}`)
  rejections.add(error)
  return error
}
