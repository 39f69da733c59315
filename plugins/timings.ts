import fp from 'fastify-plugin'

/** Intervals and delays of the kernel, in milliseconds. Operators do not set them; tests shorten them. */
export interface Timings {
  /** Lifetime of a server's lease, which it renews every third of it. A dead server's members leave their rooms after that. */
  leaseMs: number
  /** After Redis lost everything, no room is created for this long: another server may be about to write it back. */
  recoveryMs: number
  /** Time between two passes of the reconciler, which removes dead servers and syncs rooms with the store. */
  reconcileIntervalMs: number
  /** After a room was closed, every server has been notified within this time, or is notified again. */
  closeVerifyDelayMs: number
  /** Time between two polls of the job queue. A job starts at most this late unless too many are due. */
  jobPollIntervalMs: number
  /** After this time a job that failed is run again. */
  jobRetryMs: number
}

export const defaultTimings: Readonly<Timings> = {
  leaseMs: 10_000,
  recoveryMs: 3000,
  reconcileIntervalMs: 1000,
  closeVerifyDelayMs: 3000,
  jobPollIntervalMs: 250,
  jobRetryMs: 1000
}

declare module 'fastify' {
  interface FastifyInstance {
    timings: Readonly<Timings>
  }
}

/** Intervals and delays of the kernel: the defaults, and what `buildApp` was given. */
export default fp<{ timings: Partial<Timings> }>(async function timings (app, { timings }) {
  app.decorate('timings', { ...defaultTimings, ...timings })
}, { name: 'timings' })
