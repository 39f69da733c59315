import fp from 'fastify-plugin'
import type { FastifyBaseLogger } from 'fastify'
import { Session } from './connections/session.ts'
import { isLate } from './dispatch/in-flight.ts'
import type { RunOptions } from './dispatch/in-flight.ts'
import type { Registration, RegistrationTable } from './registrations.ts'

/**
 * The hooks that the kernel calls, by name. Each module uses module augmentation to declare the hooks that it calls.
 */
export interface KernelHooks {}

export type HookName = keyof KernelHooks
export type HookFunction<N extends HookName> = KernelHooks[N]
type Args<F> = F extends (...args: infer A) => unknown ? A : never
type Result<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never

/** Registers hook handlers, for features and for the kernel. */
export interface HookRegistrar<H = KernelHooks> {
  /** Adds a handler. The handler is removed when its feature is unloaded. */
  on<N extends keyof H> (name: N, fn: H[N]): void
}

/** Calls the registered handlers. */
export interface HookCaller<H> {
  /** True if the hook has a handler. */
  has (name: keyof H): boolean
  /**
   * Calls all handlers in order of registration, without waiting for the
   * promises that they return. If a handler fails, the failure is logged, and the other handlers are still called.
   */
  emit<N extends keyof H> (name: N, ...args: Args<H[N]>): void
  /**
   * Calls all handlers concurrently and merges the objects that they return. If two handlers return the same field, the
   * value of the first handler is kept, and the conflict is logged once.
   *
   * @throws the first failure
   */
  collect<N extends keyof H> (name: N, ...args: Args<H[N]>): Promise<Record<string, unknown>>
  /**
   * Calls the handlers one after another, in order of registration.
   *
   * @returns the results of the handlers
   * @throws the first failure; later handlers are not called
   */
  ask<N extends keyof H> (name: N, ...args: Args<H[N]>): Promise<Result<H[N]>[]>
}

/** A handler of a hook. */
export interface HookEntry {
  /** Identifies the handler's calls in the log, such as `hook room:join`. */
  label: string
  fn: (...args: never[]) => unknown
}

declare module './registrations.ts' {
  interface RegistrationKinds {
    /** Hook handlers, by hook name. */
    hook: HookEntry
  }
}

/** The hooks API for the kernel. */
export interface Hooks extends HookRegistrar, HookCaller<KernelHooks> {
  /**
   * Calls all handlers concurrently. If a handler fails or times out, the server logs the failure and omits the
   * handler's result. While an earlier call to a handler is overdue, later calls to the same handler time out after one
   * second.
   *
   * @param limitMs timeout of each handler of a feature; FEATURES_DEADLINE_SECONDS applies if it is shorter
   * @returns the results of the handlers that succeeded, in order of registration
   */
  settle<N extends keyof KernelHooks> (name: N, limitMs: number, ...args: Args<KernelHooks[N]>): Promise<Result<KernelHooks[N]>[]>
  /** Like {@link settle}, but merges the objects that the handlers return, as {@link collect} does. */
  gather<N extends keyof KernelHooks> (name: N, limitMs: number, ...args: Args<KernelHooks[N]>): Promise<Record<string, unknown>>
}

declare module 'fastify' {
  interface FastifyInstance {
    hooks: Hooks
  }
}

/** @returns for the log: the ids of the room, the session and the user among the arguments of a hook call */
function subjectsOf (name: string, args: readonly unknown[]): { roomId?: string, sessionId?: string, userId?: unknown } {
  const session = args.find((arg) => arg instanceof Session)
  const [first] = args
  const roomId = name.startsWith('room:') && typeof first === 'string' ? first : args.map((arg) => Object(arg) as { roomId?: unknown }).find((arg) => typeof arg.roomId === 'string')?.roomId
  return {
    ...(typeof roomId === 'string' ? { roomId } : {}),
    ...(session ? { sessionId: session.id, userId: session.user.id } : {})
  }
}

function createHooks (registrations: RegistrationTable, log: FastifyBaseLogger): Hooks {
  const byName = registrations.inService('hook')
  const none: readonly Registration<HookEntry>[] = []
  /** A placeholder for the result of a handler that failed. */
  const omitted = Symbol('omitted')
  // The fields whose conflicts have been logged.
  const conflicts = new Set<string>()

  const handlersOf = (name: string) => byName.get(name) ?? none

  /** Merges the results of a hook's handlers. If several results contain the same field, the first value is kept. */
  function merge (hook: string, parts: readonly unknown[]): Record<string, unknown> {
    const merged: Record<string, unknown> = {}
    for (const part of parts) {
      for (const [field, value] of Object.entries(part ?? {})) {
        if (!Object.hasOwn(merged, field)) merged[field] = value
        else if (!conflicts.has(`${hook} ${field}`)) {
          conflicts.add(`${hook} ${field}`)
          log.error({ hook, field }, 'two handlers of a hook returned the same field: the second value is ignored')
        }
      }
    }
    return merged
  }

  function call ({ value: { label, fn }, inFlight }: Registration<HookEntry>, args: unknown[], options?: RunOptions): unknown {
    return inFlight.run(() => (fn as (...args: unknown[]) => unknown)(...args), label, options)
  }

  return {
    on: (name, fn) => { registrations.kernel.add('hook', name, { label: `hook ${name}`, fn: fn as HookEntry['fn'] }) },
    has: (name) => byName.has(name),
    emit (name, ...args) {
      for (const entry of handlersOf(name)) {
        const failed = (err: unknown) => {
          if (!isLate(err)) log.error({ err, hook: name, feature: entry.owner, ...subjectsOf(name, args) }, 'a hook handler failed')
        }
        try {
          const result = call(entry, args)
          if (result instanceof Promise) result.catch(failed)
        } catch (err) {
          failed(err)
        }
      }
    },
    async collect (name, ...args) {
      const parts = await Promise.all(handlersOf(name).map(async (entry) => call(entry, args)))
      return merge(name, parts)
    },
    async ask (name, ...args) {
      const answers = []
      // Look up the handlers again before each call, because a handler may have been replaced or removed in the
      // meantime.
      for (const owner of new Set(handlersOf(name).map((entry) => entry.owner))) {
        for (const entry of handlersOf(name).filter((entry) => entry.owner === owner)) answers.push(await call(entry, args))
      }
      return answers as never
    },
    async settle (name, limitMs, ...args) {
      const options = { limitMs, impatient: true, mustSucceed: true }
      const answers: unknown[] = handlersOf(name).map((entry) => {
        const failed = (err: unknown) => {
          if (!isLate(err)) log.error({ err, hook: name, feature: entry.owner, ...subjectsOf(name, args) }, 'a hook handler failed: its result is omitted')
          return omitted
        }
        try {
          const result = call(entry, args, options)
          return result instanceof Promise ? result.catch(failed) : result
        } catch (err) {
          return failed(err)
        }
      })
      const results = answers.some((answer) => answer instanceof Promise) ? await Promise.all(answers) : answers
      return results.filter((result) => result !== omitted) as never
    },
    async gather (name, limitMs, ...args) {
      return merge(name, await this.settle(name, limitMs, ...args))
    }
  }
}

export default fp(async function hooks (app) {
  app.decorate('hooks', createHooks(app.registrations, app.log))
}, { name: 'hooks', dependencies: ['registrations'] })
