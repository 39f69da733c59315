import { AsyncLocalStorage } from 'node:async_hooks'

/** Code of a feature that runs, or that started what runs. */
export interface FeatureCode {
  /** The server that runs the feature: a process may run several. */
  nodeId: string
  feature: string
  generation: number
  /** For example `request wave:say`. */
  call: string
}

const storage = new AsyncLocalStorage<FeatureCode>()

/** Runs a function as code of a feature: its timers, promises and connections belong to that code. */
export const runAs = <T>(code: FeatureCode, fn: () => T): T => storage.run(code, fn)

/** @returns the code of a feature that runs; undefined if the kernel's code runs */
export const runningCode = (): FeatureCode | undefined => storage.getStore()
