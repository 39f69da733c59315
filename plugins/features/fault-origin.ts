import { dirname, join, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isCoded } from '../errors/codes.ts'

/** An uncaught exception or an unhandled promise rejection. */
export type FaultKind = 'exception' | 'rejection'

/** The code that caused a fault. */
export interface FaultOrigin {
  feature: string
  /** The sequence number of the feature's generation; undefined if unknown. */
  generation: number | undefined
  call: string | undefined
}

/** The folder of each installed feature. */
export type FeatureFolders = Iterable<{ name: string, entry: string }>

/** @returns the feature whose code is closest to the top of a stack trace */
export function originInStack (stack: string, features: FeatureFolders): FaultOrigin | undefined {
  const folders = [...features].map(({ name, entry }) => {
    const path = join(dirname(entry), sep)
    return { name, path, url: pathToFileURL(path).href }
  })
  for (const line of stack.split('\n')) {
    // Skip the lines of the error's message, which may also contain paths.
    if (!/^\s*at /.test(line)) continue
    const url = /file:\/\/[^\s)]+/.exec(line)?.[0]
    const found = folders.find((folder) => url === undefined ? line.includes(folder.path) : url.startsWith(folder.url))
    if (!found) continue
    const generation = /\?gen=(\d+)/.exec(url ?? '')?.[1]
    return { feature: found.name, generation: generation === undefined ? undefined : Number(generation), call: undefined }
  }
}

/**
 * Finds the feature that caused a fault. The stack trace shows the code that failed. The async context shows the call
 * that started this code. For a rejection with an error code, the caller is the cause, because the caller should have
 * handled the error.
 *
 * @param context the call to a feature in whose async context the fault occurred, if any
 */
export function originOf (error: unknown, kind: FaultKind, context: FaultOrigin | undefined, features: FeatureFolders): FaultOrigin | undefined {
  if (context && kind === 'rejection' && isCoded(error)) return context
  const stack = error instanceof Error && typeof error.stack === 'string' ? error.stack : ''
  const origin = originInStack(stack, features)
  return origin && context?.feature === origin.feature ? { ...origin, call: context.call, generation: origin.generation ?? context.generation } : origin ?? context
}
