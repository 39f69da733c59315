import { setImmediate } from 'node:timers/promises'
import { unavailable } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'

/** How often a server renews its leases and repeats failed steps, in milliseconds. */
export const renewMs = 2000
/**
 * How long a lease lasts after its last renewal, in milliseconds. When the lease has expired, another server takes over
 * the recording.
 */
export const leaseMs = 6000

/**
 * The steps of recordings on this server: the start, the end, the upload and the take-over of a recording. During a step,
 * the server holds the recording's lease, so no other server works on the recording.
 */
export interface Steps {
  /** @returns the id of the server that records, finishes or uploads the recording; undefined if there is none */
  holderOf (recordingId: string): Promise<string | undefined>
  /**
   * Takes or renews the lease of a recording.
   *
   * @returns false if another server holds the lease
   * @throws UNAVAILABLE
   */
  renew (recordingId: string): Promise<boolean>
  /** Deletes the lease of a recording that is complete. */
  release (recordingId: string): Promise<void>
  /**
   * Runs a step while no other server and no other step works on the recording. The lease stays until it expires or the
   * caller releases it.
   *
   * @throws UNAVAILABLE, or an error of the step
   */
  whileHolding<T> (recordingId: string, step: () => Promise<T>): Promise<T>
  /**
   * Runs a step now, while this server holds the recording's lease. If the step fails, repeats the step at each call of
   * {@link repeat} until it succeeds. Then releases the lease.
   */
  retry (recordingId: string, step: () => Promise<void>): Promise<void>
  /** Repeats the failed steps. Called every {@link renewMs}. */
  repeat (): void
  /** Whether a step of the recording is running. */
  isRunning (recordingId: string): boolean
  /** Whether a step of the recording has not succeeded yet. */
  isUnfinished (recordingId: string): boolean
  /** Number of recordings with a step that has not succeeded yet. */
  readonly unfinished: number
  /** Stops repeating the steps of a recording. Resolves when no step of the recording is running. */
  cancel (recordingId: string): Promise<void>
}

export interface StepsOptions {
  /** The running steps, by recording id. The map survives reloads of the feature. The promises never reject. */
  running: Map<string, Promise<void>>
  /** Called when a step has failed. */
  failures: { inc (): void }
  /** Called when {@link Steps.unfinished} may have changed. */
  changed (): void
}

/** Waits until no step is running. */
export async function settled (steps: ReadonlyMap<string, Promise<void>>): Promise<void> {
  while (steps.size > 0) {
    await Promise.all(steps.values())
    // The end of a step may start the next step.
    await setImmediate()
  }
}

export function createSteps ({ kv, log, nodeId }: FeatureInstance, { running, failures, changed }: StepsOptions): Steps {
  /** For each recording that is not complete, the id of the server that records, finishes or uploads the recording. */
  const leases = kv.namespace('recording-leases')
  /** For each ended recording on this server, the step that has not succeeded yet, by recording id. */
  const unfinished = new Map<string, () => Promise<void>>()
  const inFlight = new Map<string, Promise<void>>()

  async function renew (recordingId: string): Promise<boolean> {
    return await leases.compareAndSet(recordingId, nodeId, nodeId, { ttlMs: leaseMs }) || await leases.compareAndSet(recordingId, undefined, nodeId, { ttlMs: leaseMs })
  }

  async function whileHolding<T> (recordingId: string, step: () => Promise<T>): Promise<T> {
    if (running.has(recordingId)) throw unavailable('The previous step for the recording is still running')
    const run = async () => {
      if (!await renew(recordingId)) throw unavailable('Another server is finishing the recording')
      const renewing = setInterval(() => { renew(recordingId).catch(() => { /* The next renewal follows soon. */ }) }, renewMs)
      try {
        return await step()
      } finally {
        clearInterval(renewing)
      }
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    running.set(recordingId, promise)
    try {
      return await run()
    } finally {
      running.delete(recordingId)
      resolve()
    }
  }

  function retry (recordingId: string, step: () => Promise<void>): Promise<void> {
    const attempt = async () => {
      try {
        await whileHolding(recordingId, step)
        if (unfinished.get(recordingId) === run) {
          unfinished.delete(recordingId)
          await release(recordingId)
        }
      } catch (err) {
        failures.inc()
        log.warn({ err, recordingId }, 'failed to finish a recording, will retry')
      } finally {
        inFlight.delete(recordingId)
        changed()
        // The step may have scheduled another step.
        const next = unfinished.get(recordingId)
        if (next && next !== run) next()
      }
    }
    const run = () => {
      const attempted = inFlight.get(recordingId) ?? attempt()
      inFlight.set(recordingId, attempted)
      return attempted
    }
    unfinished.set(recordingId, run)
    return run()
  }

  async function release (recordingId: string): Promise<void> {
    await leases.delete(recordingId).catch(() => { /* The lease expires. */ })
  }

  return {
    holderOf: async (recordingId) => await leases.get(recordingId),
    renew,
    release,
    whileHolding,
    retry,
    repeat () {
      for (const run of unfinished.values()) run()
    },
    isRunning: (recordingId) => running.has(recordingId),
    isUnfinished: (recordingId) => unfinished.has(recordingId),
    get unfinished () {
      return unfinished.size
    },
    async cancel (recordingId) {
      do {
        unfinished.delete(recordingId)
        await inFlight.get(recordingId)
        await running.get(recordingId)
        // The end of a step may start the next step.
        await setImmediate()
      } while (unfinished.has(recordingId) || running.has(recordingId))
    }
  }
}
