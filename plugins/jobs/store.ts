/** A job that a server has taken. Only its token can settle it. */
export interface DueJob {
  key: string
  token: number
}

/**
 * Jobs by due time. Each method is atomic and takes one round trip. All throw UNAVAILABLE while the
 * store cannot be reached.
 */
export interface JobStore {
  /**
   * Schedules a job. If it is already scheduled, the earlier time applies.
   *
   * @param at epoch milliseconds
   */
  schedule (queue: string, key: string, at: number): Promise<void>
  /**
   * Takes due jobs, oldest first. No other caller gets a job until it is settled, or until `until` has
   * passed: then it is due again.
   *
   * @param until epoch milliseconds
   */
  takeDue (queue: string, now: number, limit: number, until: number): Promise<DueJob[]>
  /**
   * Settles a taken job. If it was scheduled again in the meantime, it stays scheduled.
   *
   * @param retryAt when the job is due again; undefined if it has succeeded
   */
  settle (queue: string, job: DueJob, retryAt?: number): Promise<void>
}
