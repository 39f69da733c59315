import { dirname, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withDetails } from '../errors/codes.ts'
import type { FoundFeature } from './discovery.ts'
import { FeatureLoadFailed } from './errors.ts'

/** Where in its code a feature failed. */
export interface Place {
  file: string
  /** Counted from 1; absent where nothing tells. */
  line?: number
}

/**
 * @param error anything that was thrown while a feature was loaded
 * @returns FEATURE_LOAD_FAILED with the cause and its place, as `details: {file, line, stack}`
 */
export async function loadFailed (feature: FoundFeature, error: unknown) {
  const cause = error instanceof Error ? error : new Error(String(error))
  const stack = readable(cause.stack ?? cause.message)
  const place = placeIn(stack, dirname(feature.entry)) ?? await placeOfSyntax(feature, cause) ?? { file: feature.entry }
  const where = place.line === undefined ? place.file : `${place.file}:${place.line}`
  return withDetails(new FeatureLoadFailed(feature.name, `${cause.message} (${where})`, { cause }), { ...place, stack })
}

/** Paths in the place of URLs, without the generation: what an editor opens. */
const readable = (stack: string) => stack.replace(/file:\/\/[^\s)]+/g, (url) => {
  const [, address = url, position = ''] = /^(.*?)((?::\d+)*)$/.exec(url) ?? []
  try {
    return fileURLToPath(address.replace(/\?.*$/, '')) + position
  } catch {
    return url
  }
})

/** The first line of a stack that is in the feature's own folder. */
function placeIn (stack: string, folder: string): Place | undefined {
  for (const line of stack.split('\n')) {
    const start = line.indexOf(folder + sep)
    const [, file, number] = start < 0 ? [] : /^(.+?):(\d+)/.exec(line.slice(start)) ?? []
    if (file !== undefined) return { file, line: Number(number) }
  }
}

/** Node does not say where in a JavaScript file, or from where a file that is not there is imported; a bundler does. */
async function placeOfSyntax (feature: FoundFeature, cause: Error): Promise<Place | undefined> {
  if (!(cause instanceof SyntaxError) && (cause as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') return
  const { build } = await import('esbuild')
  const problem = await build({
    entryPoints: [feature.entry],
    absWorkingDir: dirname(feature.entry),
    bundle: true,
    write: false,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    // As Node does: an import is followed, used or not.
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
    logLevel: 'silent'
  }).then(() => undefined, (failure: { errors?: { location: { file: string, line: number } | null }[] }) => failure.errors?.[0]?.location)
  return problem ? { file: problem.file.startsWith(sep) ? problem.file : `${dirname(feature.entry)}${sep}${problem.file}`, line: problem.line } : undefined
}
