import { dirname, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import createError from '@fastify/error'
import { isCoded, withDetails } from '../errors/codes.ts'
import type { FoundFeature } from './discovery.ts'

// Errors that a change to the running features can cause.

export const FeatureNotFound = createError('FEATURE_NOT_FOUND', 'Feature %s does not exist', 404)
export const FeatureInUse = createError('FEATURE_IN_USE', 'Feature %s is required by %s', 409)
export const DependencyDisabled = createError('DEPENDENCY_DISABLED', 'Feature %s requires %s, which is not running', 409)
export const FeatureLoadFailed = createError('FEATURE_LOAD_FAILED', 'Feature %s failed to load: %s', 422)

/** @param dependents names of the running features that require the feature */
export const featureInUse = (name: string, dependents: readonly string[]) =>
  withDetails(new FeatureInUse(name, dependents.join(', ')), { dependents })

/** @param dependencies names of the required features that are not running */
export const dependencyDisabled = (name: string, dependencies: readonly string[]) =>
  withDetails(new DependencyDisabled(name, dependencies.join(', ')), { dependencies })

/** Whether a later change to another feature may remove the cause of the error, so that a retry may succeed. */
export const mayPass = (error: unknown): boolean => isCoded(error) && (error.code === 'DEPENDENCY_DISABLED' || error.code === 'FEATURE_IN_USE')

/** The location in a feature's code where an error occurred. */
export interface Place {
  file: string
  /** The line number, starting at 1; absent if the stack trace contains no line number. */
  line?: number
}

/**
 * @param error anything that was thrown while the feature was being loaded
 * @returns FEATURE_LOAD_FAILED with the cause and its location, as `details: {file, line, stack}`
 */
export function loadFailed (feature: FoundFeature, error: unknown) {
  const cause = error instanceof Error ? error : new Error(String(error))
  const stack = readable(cause.stack ?? cause.message)
  const place = placeIn(stack, dirname(feature.entry)) ?? { file: feature.entry }
  const where = place.line === undefined ? place.file : `${place.file}:${place.line}`
  return withDetails(new FeatureLoadFailed(feature.name, `${cause.message} (${where})`, { cause }), { ...place, stack })
}

/** Replaces the URLs in a stack trace with file paths that an editor can open. */
const readable = (stack: string) => stack.replace(/file:\/\/[^\s)]+/g, (url) => {
  const [, address = url, position = ''] = /^(.*?)((?::\d+)*)$/.exec(url) ?? []
  try {
    return fileURLToPath(address.replace(/\?.*$/, '')) + position
  } catch {
    return url
  }
})

/**
 * @returns the location of the first stack frame in the feature's folder; if there is none, the feature's file that
 *   imports a missing module
 */
function placeIn (stack: string, folder: string): Place | undefined {
  for (const line of stack.split('\n')) {
    const start = line.indexOf(folder + sep)
    const [, file, number] = start < 0 ? [] : /^(.+?):(\d+)/.exec(line.slice(start)) ?? []
    if (file !== undefined) return { file, line: Number(number) }
  }
  const importer = / imported from (.+)$/m.exec(stack)?.[1]
  return importer?.startsWith(folder + sep) ? { file: importer } : undefined
}
