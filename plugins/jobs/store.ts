/** A job that a server has taken. To settle the job, the server must pass the job's token. */
export interface DueJob {
  key: string
  token: number
}

/**
 * Stores jobs by due time. Each method is atomic and takes one round trip. All methods throw UNAVAILABLE while the
 * store cannot be reached.
 */
export interface JobStore {
  /**
   * Schedules a job. If the job is already scheduled, the earlier time applies.
   *
   * @param at when the job is due, in epoch milliseconds
   */
  schedule (queue: string, key: string, at: number): Promise<void>
  /**
   * Takes due jobs, oldest first. A taken job is not returned to other callers. If the job is not settled by `until`,
   * it becomes due again. After a call fails, the next call makes the jobs that the failed call may have taken due
   * again.
   *
   * @param until the deadline for settling the jobs, in epoch milliseconds
   */
  takeDue (queue: string, now: number, limit: number, until: number): Promise<DueJob[]>
  /**
   * Marks a taken job as finished. A job that was rescheduled after it was taken stays scheduled.
   *
   * @param retryAt when to retry a job that failed; undefined if the job succeeded
   */
  settle (queue: string, job: DueJob, retryAt?: number): Promise<void>
}
