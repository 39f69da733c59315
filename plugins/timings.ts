import fp from 'fastify-plugin'

/** Intervals and delays of the kernel, in milliseconds. Operators do not set these values; tests shorten them. */
export interface Timings {
  /**
   * Maximum time for a client to send an HTTP request. Most bodies have at most 64 KiB, so half a minute is enough even
   * on a slow network.
   */
  requestMs: number
  /** Maximum time for a client to send the headers of an HTTP request. */
  headersMs: number
  /** If Redis sends nothing for this long, pending commands fail, and their callers get UNAVAILABLE errors. */
  redisCommandMs: number
  /**
   * Lifetime of a server's lease. The server renews the lease three times per lifetime. When the lease expires, the
   * members on that server are removed from their rooms.
   */
  leaseMs: number
  /**
   * After Redis loses data, servers create no rooms for this long, because another server may be about to restore the
   * same room.
   */
  recoveryMs: number
  /** Time between passes of the reconciler, which removes dead servers and syncs rooms with the store. */
  reconcileIntervalMs: number
  /**
   * Delay between closing a room and the job that calls `room:resynced`. The job is a fallback: the server that closes
   * the room may die before it calls the other hooks.
   */
  closeVerifyDelayMs: number
  /**
   * Time between polls of the job queue. Unless too many jobs are due at once, a job starts within this time after it
   * is due.
   */
  jobPollIntervalMs: number
  /** Delay before a failed job is retried. */
  jobRetryMs: number
  /**
   * How long the server keeps an unused mix of a room, so that a listener who reconnects does not have to wait for a
   * new mix.
   */
  mixLingerMs: number
  /**
   * Interval at which each server reports its load to the other servers. A server that misses three reports is
   * considered gone.
   */
  nodeReportMs: number
}

export const defaultTimings: Readonly<Timings> = {
  requestMs: 30_000,
  headersMs: 10_000,
  redisCommandMs: 2000,
  leaseMs: 10_000,
  recoveryMs: 3000,
  reconcileIntervalMs: 1000,
  closeVerifyDelayMs: 3000,
  jobPollIntervalMs: 250,
  jobRetryMs: 1000,
  mixLingerMs: 10_000,
  nodeReportMs: 5000
}

declare module 'fastify' {
  interface FastifyInstance {
    timings: Readonly<Timings>
  }
}

/** Intervals and delays of the kernel: the defaults, overridden by the options of `buildApp`. */
export default fp<{ timings: Partial<Timings> }>(async function timings (app, { timings }) {
  app.decorate('timings', { ...defaultTimings, ...timings })
}, { name: 'timings' })
