import type { FastifyBaseLogger } from 'fastify'
import { withTimeout } from '../errors/timeout.ts'

/**
 * Returns the resource that the previous generation of the feature kept under the same key, or creates it. The resource
 * outlives reloads.
 *
 * The resource is disposed of when the feature is disabled or removed, when the server closes, and after a reload if
 * the new generation does not keep it. If a generation fails to start, only the resources that this generation has
 * created are disposed of. Within a generation, a key always returns the same resource. A feature sees only its own
 * keys.
 *
 * The resource's methods still run the code of the generation that created the resource. Therefore, prefer resources
 * that contain only data. Change the key when the resource's type changes.
 *
 * @throws if the generation is already closed
 * @param dispose disposes of the resource; called after the `onClose` hooks of the last generation that kept the
 *   resource. The functions that earlier generations passed are not called
 */
export type Keep = <T>(key: string, create: () => T, dispose?: (resource: T) => void | Promise<void>) => T

interface Handle { readonly resource: unknown }

interface Entry {
  /** All generations that keep the resource share the same handle. */
  readonly handle: Handle
  readonly dispose: (() => void | Promise<void>) | undefined
}

/** The resources that one generation of a feature has created or taken over with `keep`. */
export interface KeptResources {
  readonly keep: Keep
  find (key: string): Handle | undefined
  /** True if this generation keeps the resource under any key. */
  has (handle: Handle): boolean
  /**
   * Disposes of the resources in the reverse order of the `keep` calls. Failures and timeouts are logged.
   *
   * @param heir the resources of the next generation, which must not be disposed of
   */
  dispose (heir?: KeptResources): Promise<void>
}

/** Timeout of `dispose`, in milliseconds. */
const disposeMs = 10_000

/**
 * @param previous returns the resources of the generation that is in service, so that the new generation can take them
 *   over
 */
export function createKeptResources (log: FastifyBaseLogger, previous: () => KeptResources | undefined = () => undefined): KeptResources {
  const entries = new Map<string, Entry>()
  let disposed = false

  return {
    keep<T> (key: string, create: () => T, dispose?: (resource: T) => void | Promise<void>): T {
      if (disposed) throw new Error(`app.keep('${key}') is not possible: the feature instance is closed`)
      const handle = entries.get(key)?.handle ?? previous()?.find(key) ?? { resource: create() }
      const resource = handle.resource as T
      if (!entries.has(key)) entries.set(key, { handle, dispose: dispose && (() => dispose(resource)) })
      return resource
    },
    find: (key) => entries.get(key)?.handle,
    has: (handle) => entries.values().some((entry) => entry.handle === handle),
    async dispose (heir) {
      disposed = true
      for (const [key, { handle, dispose }] of [...entries].reverse()) {
        if (!dispose || heir?.has(handle) === true) continue
        try {
          await withTimeout(Promise.try(dispose), disposeMs, () => { throw new Error(`dispose timed out after ${disposeMs / 1000} s`) })
        } catch (err) {
          log.error({ err, key }, 'failed to dispose of a kept resource')
        }
      }
      entries.clear()
    }
  }
}
