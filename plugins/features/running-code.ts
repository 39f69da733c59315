import { AsyncLocalStorage } from 'node:async_hooks'

/** The feature whose code is running, or whose code started the timer, promise or connection that is running now. */
export interface FeatureCode {
  /** Id of the server that runs the feature; a process may run several servers. */
  nodeId: string
  feature: string
  generation: number
  /** The call's name, such as `request wave:say`. */
  call: string
}

const storage = new AsyncLocalStorage<FeatureCode | undefined>()

/**
 * Runs a function on behalf of a feature. The timers, promises and connections that the function creates belong to that
 * feature.
 */
export const runAs = <T>(code: FeatureCode, fn: () => T): T => storage.run(code, fn)

/** @returns the feature that the running code belongs to; undefined if it belongs to the kernel */
export const runningCode = (): FeatureCode | undefined => storage.getStore()

/**
 * Ends the attribution of the running code to a feature. Call this after an uncaught error: if a `nextTick` callback
 * throws, Node.js stays in the callback's async context, so the data of later connections would be handled on behalf of
 * the callback's feature.
 */
export const leaveFeature = (): void => storage.enterWith(undefined)
