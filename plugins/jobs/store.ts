/** A job that was taken. Only its token can settle it. */
export interface DueJob {
  key: string
  token: number
}

/**
 * Jobs by the time at which they are due. Each method is atomic and one round
 * trip. All throw UNAVAILABLE while the store cannot be reached.
 */
export interface JobStore {
  /**
   * Schedules a job. If it is scheduled already, the earlier time counts.
   *
   * @param at epoch milliseconds
   */
  schedule (queue: string, key: string, at: number): Promise<void>
  /**
   * Takes the due jobs, oldest first. No other caller gets one of them until it
   * is settled or `until` has passed; then it is due again.
   *
   * @param until epoch milliseconds
   */
  takeDue (queue: string, now: number, limit: number, until: number): Promise<DueJob[]>
  /**
   * Ends a job that was taken. If it was scheduled again since, that stays.
   *
   * @param retryAt when the job is due again; undefined if it is done
   */
  settle (queue: string, job: DueJob, retryAt?: number): Promise<void>
}
