import { dirname, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withDetails } from '../errors/codes.ts'
import type { FoundFeature } from './discovery.ts'
import { FeatureLoadFailed } from './errors.ts'

/** Where a feature failed in its code. */
export interface Place {
  file: string
  /** Starts at 1; absent if Node's stack has none. */
  line?: number
}

/**
 * @param error anything that was thrown while a feature was loaded
 * @returns FEATURE_LOAD_FAILED with the cause and its place, as `details: {file, line, stack}`
 */
export function loadFailed (feature: FoundFeature, error: unknown) {
  const cause = error instanceof Error ? error : new Error(String(error))
  const stack = readable(cause.stack ?? cause.message)
  const place = placeIn(stack, dirname(feature.entry)) ?? { file: feature.entry }
  const where = place.line === undefined ? place.file : `${place.file}:${place.line}`
  return withDetails(new FeatureLoadFailed(feature.name, `${cause.message} (${where})`, { cause }), { ...place, stack })
}

/** Replaces URLs with paths, without the generation, as an editor opens them. */
const readable = (stack: string) => stack.replace(/file:\/\/[^\s)]+/g, (url) => {
  const [, address = url, position = ''] = /^(.*?)((?::\d+)*)$/.exec(url) ?? []
  try {
    return fileURLToPath(address.replace(/\?.*$/, '')) + position
  } catch {
    return url
  }
})

/** @returns the first location of a stack in the feature's folder, otherwise the file there that imports a missing one */
function placeIn (stack: string, folder: string): Place | undefined {
  for (const line of stack.split('\n')) {
    const start = line.indexOf(folder + sep)
    const [, file, number] = start < 0 ? [] : /^(.+?):(\d+)/.exec(line.slice(start)) ?? []
    if (file !== undefined) return { file, line: Number(number) }
  }
  const importer = / imported from (.+)$/m.exec(stack)?.[1]
  return importer?.startsWith(folder + sep) ? { file: importer } : undefined
}
