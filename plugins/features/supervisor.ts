import { executionAsyncResource } from 'node:async_hooks'
import type { FastifyInstance } from 'fastify'
import type { CallSupervision } from '../dispatch/in-flight.ts'
import { isCoded } from '../errors/codes.ts'
import { beat } from './heartbeat.ts'
import { originInStack, originOf } from './fault-origin.ts'
import type { FaultKind } from './fault-origin.ts'
import type { Loader } from './loader.ts'
import type { Registry } from './registry.ts'
import { leaveFeature, runAs, runningCode } from './running-code.ts'
import type { FeatureCode } from './running-code.ts'

/** A period during which one piece of code blocked the event loop. */
export interface Block {
  /** When the main thread started the code that blocked the event loop, in epoch milliseconds. */
  since: number
  ms: number
  /** The code that blocked the event loop, if that code belongs to a feature. */
  code?: Pick<FeatureCode, 'feature' | 'call'> | undefined
  stack: string
}

/**
 * Keeps faults in one feature from affecting the rest of the server. When a feature causes a fault (an uncaught
 * exception or an unhandled promise rejection), the feature's generation is replaced on this server. After three faults
 * within a minute, the feature is taken out of service on this server until it is reloaded (docs/protocol.md, "Rooms").
 */
export interface Supervisor {
  /** Starts supervising one generation's calls. */
  supervise (feature: string, generation: number): CallSupervision
  /**
   * Sets the loader that restarts faulty features and takes them out of service. Call this once, before the first
   * fault.
   */
  actWith (loader: Pick<Loader, 'restart' | 'takeOut'>): void
  /** @returns true if a feature on this server caused the fault and the supervisor has handled it */
  handle (error: unknown, kind: FaultKind): boolean
  /** Logs which feature has blocked the event loop, unless this block has already been logged. */
  blocked (block: Block): void
  /**
   * Call this after a change to the feature's settings or files puts a new generation into service. After this call,
   * faults of earlier generations no longer count.
   */
  replaced (feature: string, generation: number): void
  close (): void
}

/** A feature is taken out of service after this many faults within {@link windowMs}. */
const maxFaults = 3
const windowMs = 60_000
/** How long a feature must block the event loop before the block is logged, in milliseconds. */
export const blockMs = 500

/** The supervisors of all servers in this process. */
const supervisors = new Set<Supervisor>()

/**
 * Handles a fault in this process if a feature caused it.
 *
 * @returns false if the cause is not known to be a feature; the process may then be in an invalid state
 */
export function handleFault (error: unknown, kind: FaultKind): boolean {
  // Ignore the faults of a closed server's features: these features no longer affect anything.
  const isHandled = [...supervisors].some((supervisor) => supervisor.handle(error, kind)) || runningCode() !== undefined
  leaveFeature()
  return isHandled
}

/** Logs that a feature blocked this process's event loop. Does nothing if other code blocked it. */
export function handleBlock (block: Block): void {
  for (const supervisor of supervisors) supervisor.blocked(block)
}

export function createSupervisor ({ config, log, metrics, nodeId }: Pick<FastifyInstance, 'config' | 'log' | 'metrics' | 'nodeId'>, registry: Registry): Supervisor {
  const faults = metrics.counter('flylive_feature_faults_total', 'Uncaught exceptions and unhandled promise rejections in the feature', ['feature', 'kind'])
  const failures = metrics.counter('flylive_feature_call_failures_total', 'Calls to the feature (requests, hooks, jobs and others) that failed (error) or exceeded their deadline (late). Requests that fail with an error code are not counted', ['feature', 'call', 'reason'])
  const blocks = metrics.counter('flylive_feature_blocks_total', 'Number of times the feature blocked the event loop', ['feature'])
  const deadlineMs = config.FEATURES_DEADLINE_SECONDS * 1000
  const recent = new Map<string, { at: number, generation: number }[]>()
  /** The oldest generation whose faults count, by feature. */
  const oldest = new Map<string, number>()
  /** The features that are out of service because of their faults. */
  const takenOut = new Set<string>()
  const closing = new AbortController()
  let loader: Pick<Loader, 'restart' | 'takeOut'>
  /** When the event loop ran again after the last logged block, in epoch milliseconds. */
  let loggedUntil = 0

  const installed = () => [...registry.known.values()].map(({ found }) => found)
  /** The kind of a call: the first word of the call's name, such as `request`. */
  const kindOf = (call: string) => call.split(' ', 1)[0] as string

  function logBlock (feature: string, call: string | undefined, ms: number, stack?: string): void {
    blocks.inc({ feature })
    const running = call === undefined ? { calls: registry.running(feature)?.calls.names } : { call }
    log.warn({ feature, ms: Math.round(ms), ...running, stack }, 'a feature blocked the event loop')
  }

  function count (feature: string, generation: number): number {
    const now = performance.now()
    const list = [...recent.get(feature) ?? [], { at: now, generation }].filter(({ at }) => now - at < windowMs)
    recent.set(feature, list)
    return list.length
  }

  function act (feature: string, generation: number, cause: Error): void {
    if (generation < (oldest.get(feature) ?? 0) || closing.signal.aborted || takenOut.has(feature)) return
    if (count(feature, generation) < maxFaults) {
      loader.restart(feature, generation).catch((err: unknown) => log.error({ err, feature }, 'failed to replace the generation of a faulty feature'))
    } else {
      log.error({ feature, faults: maxFaults, seconds: windowMs / 1000 }, 'too many faults: the feature is out of service on this server until it is reloaded')
      takenOut.add(feature)
      loader.takeOut(feature, new Error(`Out of service after too many faults; the last one: ${cause.message}`, { cause })).catch((err: unknown) => log.error({ err, feature }, 'failed to take a faulty feature out of service'))
    }
  }

  const supervisor: Supervisor = {
    supervise (feature, generation) {
      // Start the counter at 0, because an alert does not count the first value of a series as an increase.
      for (const kind of ['exception', 'rejection'] as const) faults.inc({ feature, kind }, 0)
      return {
        deadlineMs,
        enter (call, code) {
          const begin = Date.now()
          // Update the heartbeat here as well, because many short calls can keep the event loop busy without blocking it.
          if (runningCode() === undefined) beat(begin)
          try {
            return runAs({ nodeId, feature, generation, call }, code)
          } finally {
            const end = Date.now()
            // If a nested call blocked the event loop, the inner `enter` has already logged the block.
            if (end - begin > blockMs && loggedUntil < begin) {
              loggedUntil = end
              logBlock(feature, call, end - begin)
            }
          }
        },
        failed (call, error, isMistake) {
          if (isMistake || !isCoded(error)) failures.inc({ feature, call: kindOf(call), reason: 'error' })
        },
        late (call, ms, again) {
          failures.inc({ feature, call: kindOf(call), reason: 'late' })
          log[again ? 'debug' : 'warn']({ feature, generation, call, ms }, 'a call to a feature exceeded its deadline')
        }
      }
    },
    actWith (given) {
      loader = given
    },
    handle (error, kind) {
      const code = runningCode()
      const origin = originOf(error, kind, code?.nodeId === nodeId ? code : undefined, installed())
      if (!origin) return false
      const { feature, call } = origin
      const generation = origin.generation ?? registry.numberOf(feature)
      const cause = error instanceof Error ? error : new Error(String(error))
      // If a `setInterval` callback threw, stop the timer. Otherwise, the timer of a replaced generation would throw
      // again and again.
      if (kind === 'exception') clearInterval(executionAsyncResource() as NodeJS.Timeout)
      faults.inc({ feature, kind })
      log.error({ err: cause, feature, generation, call, kind }, 'uncaught error in a feature')
      act(feature, generation, cause)
      return true
    },
    blocked ({ since, ms, code, stack }) {
      // Do not log a block that `enter` has already logged.
      if (loggedUntil > since) return
      const feature = code?.feature ?? originInStack(stack, installed())?.feature
      if (feature === undefined || !registry.known.has(feature)) return
      loggedUntil = since + ms
      logBlock(feature, code?.call, ms, stack)
    },
    replaced (feature, generation) {
      takenOut.delete(feature)
      oldest.set(feature, generation)
      recent.set(feature, (recent.get(feature) ?? []).filter((fault) => fault.generation >= generation))
    },
    close () {
      closing.abort()
      supervisors.delete(supervisor)
    }
  }
  supervisors.add(supervisor)
  return supervisor
}
