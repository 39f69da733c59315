import fp from 'fastify-plugin'
import type { FastifyBaseLogger } from 'fastify'

/**
 * What the kernel tells features, by name. The part of the kernel that calls a
 * hook declares it here by module augmentation, next to the call.
 */
export interface KernelHooks {}

export type HookName = keyof KernelHooks
export type HookFunction<N extends HookName> = KernelHooks[N]
type Args<N extends HookName> = KernelHooks[N] extends (...args: infer A) => unknown ? A : never
type Result<N extends HookName> = KernelHooks[N] extends (...args: never[]) => infer R ? Awaited<R> : never

/** Where features (and the kernel itself) register what they want to hear. */
export interface HookRegistrar {
  /** Calls `fn` whenever the kernel reaches that point. Withdrawn with its feature. */
  on<N extends HookName> (name: N, fn: HookFunction<N>): void
}

export interface HookEntry {
  name: HookName
  fn: (...args: never[]) => unknown
}

/** The kernel's side: runs what is registered now. */
export interface Hooks extends HookRegistrar {
  /** Whether anybody is there to be asked. */
  has (name: HookName): boolean
  /**
   * Calls every function in order of registration, without waiting for what
   * they return. A failure is logged and stops nobody else.
   */
  emit<N extends HookName> (name: N, ...args: Args<N>): void
  /**
   * Calls every function at once and merges the objects they return.
   *
   * @throws what the first failing function throws
   */
  collect<N extends HookName> (name: N, ...args: Args<N>): Promise<Record<string, unknown>>
  /**
   * Asks every function in order of registration, each waited for.
   *
   * @throws what the first failing function throws; later ones are not asked
   */
  ask<N extends HookName> (name: N, ...args: Args<N>): Promise<Result<N>[]>
  /** Replaces all that an owner registered by a new set, at once. */
  install (owner: string, entries: readonly HookEntry[]): void
}

declare module 'fastify' {
  interface FastifyInstance {
    hooks: Hooks
  }
}

export function createHooks (log: FastifyBaseLogger): Hooks {
  const owners = new Map<string, readonly HookEntry[]>()
  const byName = new Map<HookName, HookEntry['fn'][]>()
  const kernel: HookEntry[] = []

  function rebuild () {
    byName.clear()
    for (const entries of owners.values()) {
      for (const { name, fn } of entries) {
        const list = byName.get(name)
        if (list) list.push(fn)
        else byName.set(name, [fn])
      }
    }
  }

  const call = (fn: HookEntry['fn'], args: unknown[]) => (fn as (...args: unknown[]) => unknown)(...args)

  return {
    on (name, fn) {
      kernel.push({ name, fn: fn as HookEntry['fn'] })
      this.install('kernel', kernel)
    },
    has: (name) => byName.has(name),
    emit (name, ...args) {
      for (const fn of byName.get(name) ?? []) {
        const failed = (err: unknown) => log.error({ err, hook: name }, 'a hook failed')
        try {
          const result = call(fn, args)
          if (result instanceof Promise) result.catch(failed)
        } catch (err) {
          failed(err)
        }
      }
    },
    async collect (name, ...args) {
      const parts = await Promise.all((byName.get(name) ?? []).map(async (fn) => call(fn, args)))
      return Object.assign({}, ...parts) as Record<string, unknown>
    },
    async ask (name, ...args) {
      const answers = []
      // Whose turn comes later may be replaced, or gone, by then.
      for (const owner of [...owners.keys()]) {
        for (const entry of owners.get(owner) ?? []) if (entry.name === name) answers.push(await call(entry.fn, args))
      }
      return answers as never
    },
    install (owner, entries) {
      if (entries.length === 0) owners.delete(owner)
      else owners.set(owner, entries)
      rebuild()
    }
  }
}

export default fp(async function hooks (app) {
  app.decorate('hooks', createHooks(app.log))
}, { name: 'hooks' })
