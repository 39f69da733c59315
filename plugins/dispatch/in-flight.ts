import { unavailable } from '../errors/codes.ts'
import { afterReading } from '../errors/timeout.ts'

/** Supervises calls to a feature's code. */
export interface CallSupervision {
  /** Deadline of a call, in milliseconds. */
  readonly deadlineMs: number
  /**
   * Runs the feature's code. Faults in this code, and in asynchronous work that it starts, are attributed to the call.
   */
  enter<T> (call: string, code: () => T): T
  /**
   * Called when a call fails.
   *
   * @param isMistake whether an error with a code also counts as a failure; if false, such an error counts as a regular
   *   reply
   */
  failed (call: string, error: unknown, isMistake: boolean): void
  /**
   * Called when a call exceeds its deadline.
   *
   * @param again whether an earlier call with the same name is also overdue
   */
  late (call: string, ms: number, again: boolean): void
}

export interface RunOptions {
  /** A shorter deadline for this call, in milliseconds. */
  limitMs?: number
  /** Whether to shorten the deadline to {@link impatientMs} while an earlier call with the same name is overdue. */
  impatient?: boolean
  /** Whether every error that the call throws counts as a failure, even an error with a code. */
  mustSucceed?: boolean
}

/**
 * The in-flight calls of one owner (the kernel or a feature). When the owner's handlers are replaced, running calls are
 * allowed to finish, until a timeout cancels them.
 */
export interface InFlight {
  readonly running: number
  /** The names of the running calls. */
  readonly names: readonly string[]
  /**
   * Runs a call and counts it as in flight until it finishes or its deadline passes.
   *
   * @param name the name of the call in the log, such as `request room:join`
   * @returns what the call returns. A returned promise also rejects on `end()` and after the deadline
   * @throws what the call throws; UNAVAILABLE after the deadline
   */
  run<T> (call: () => T, name?: string, options?: RunOptions): T
  /**
   * Counts a call as in flight until the returned function is called.
   *
   * @param ended called by `end()` if the call is still running
   * @returns a function to call when the call is done
   */
  begin (ended: (error: Error) => void, name?: string): () => void
  /** Resolves when no call is running. */
  idle (): Promise<void>
  /** Rejects the running calls. If a call finishes later, its result is ignored. */
  end (error: Error): void
}

/** Deadline of an `impatient` call while an earlier call with the same name is overdue, in milliseconds. */
export const impatientMs = 1000

const lateErrors = new WeakSet<object>()

/** @returns the error for a call that has exceeded its deadline */
export function lateError (call: string, ms: number): Error {
  const error = unavailable(`The ${call} did not finish within ${ms / 1000} s`)
  lateErrors.add(error)
  return error
}

/** Whether the error means that a call exceeded its deadline. */
export const isLate = (error: unknown): boolean => typeof error === 'object' && error !== null && lateErrors.has(error)

interface RunningCall {
  name: string
  ended: (error: Error) => void
}

/** @param supervision supervises the calls; if omitted, calls have no deadline */
export function createInFlight (supervision?: CallSupervision): InFlight {
  const running = new Set<RunningCall>()
  const waiting: (() => void)[] = []
  /** The number of overdue calls by name. */
  const overdue = new Map<string, number>()

  function done (call: RunningCall): void {
    if (running.delete(call) && running.size === 0) for (const fn of waiting.splice(0)) fn()
  }

  function begin (ended: (error: Error) => void, name = 'call'): () => void {
    const call = { name, ended }
    running.add(call)
    return () => done(call)
  }

  function runFree<T> (call: () => T, name: string): T {
    const result = call()
    if (!(result instanceof Promise)) return result
    const { promise, resolve, reject } = Promise.withResolvers()
    const done = begin(reject, name)
    result.then((value) => {
      done()
      resolve(value)
    }, (error: unknown) => {
      done()
      reject(error)
    })
    return promise as typeof result
  }

  function addOverdue (name: string, change: 1 | -1): void {
    const count = (overdue.get(name) ?? 0) + change
    if (count > 0) overdue.set(name, count)
    else overdue.delete(name)
  }

  function runSupervised<T> ({ deadlineMs, enter, failed, late }: CallSupervision, call: () => T, name: string, { limitMs = Infinity, impatient = false, mustSucceed = false }: RunOptions): T {
    let result: T
    try {
      result = enter(name, call)
    } catch (error) {
      failed(name, error, mustSucceed)
      throw error
    }
    if (!(result instanceof Promise)) return result
    const { promise, resolve, reject } = Promise.withResolvers()
    const ms = Math.min(deadlineMs, limitMs, impatient && overdue.has(name) ? impatientMs : Infinity)
    let isOverdue = false
    const cancelTimer = afterReading(ms, () => {
      const again = overdue.has(name)
      isOverdue = true
      addOverdue(name, 1)
      late(name, ms, again)
      reject(lateError(name, ms))
      done()
    })
    const done = begin((error) => {
      cancelTimer()
      reject(error)
    }, name)
    const settled = () => {
      cancelTimer()
      if (isOverdue) addOverdue(name, -1)
      done()
    }
    result.then((value) => {
      settled()
      resolve(value)
    }, (error: unknown) => {
      settled()
      if (!isOverdue) failed(name, error, mustSucceed)
      reject(error)
    })
    return promise as typeof result
  }

  return {
    get running () {
      return running.size
    },
    get names () {
      return [...new Set([...running].map(({ name }) => name))]
    },
    begin,
    run: (call, name = 'call', options = {}) => supervision ? runSupervised(supervision, call, name, options) : runFree(call, name),
    async idle () {
      if (running.size > 0) await new Promise<void>((resolve) => waiting.push(resolve))
    },
    end (error) {
      for (const call of [...running]) {
        call.ended(error)
        done(call)
      }
    }
  }
}
