import { existsSync, readdirSync } from 'node:fs'
import { registerHooks } from 'node:module'
import type { ResolveFnOutput, ResolveHookContext } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { FastifyPluginAsync } from 'fastify'
import type { RequestMap } from '../messages/routes.ts'

/** A folder with a feature in it. */
export interface FoundFeature {
  name: string
  /** Absolute path of its index file. */
  entry: string
}

/** What is known of a feature without running it. */
export interface FeatureModule {
  plugin: FastifyPluginAsync
  /** From fastify-plugin's metadata. */
  dependencies: readonly string[]
  version: string | undefined
  /** Types of the messages it answers, from its exported `requests`: known also while it is off. */
  types: readonly string[]
}

const entries = ['index.ts', 'index.js', 'index.mjs']
const roots = new Set<string>()

/**
 * Looks for features: folders with an index file.
 *
 * @param folders absolute paths; a name in a later one stands before the same in an earlier
 */
export function findFeatures (folders: readonly string[]): FoundFeature[] {
  const found = new Map<string, FoundFeature>()
  for (const folder of folders) {
    if (!existsSync(folder)) continue
    for (const item of readdirSync(folder, { withFileTypes: true })) {
      if (!item.isDirectory()) continue
      const file = entries.find((name) => existsSync(join(folder, item.name, name)))
      if (file !== undefined) found.set(item.name, { name: item.name, entry: join(folder, item.name, file) })
    }
    roots.add(pathToFileURL(join(folder, '/')).href)
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name))
}

// A module is loaded once per URL. A generation is part of the URL of a
// feature's entry, and this hook hands it on to all that the feature imports
// from under a features folder; everything else is shared.
let hooked = false
function hookGenerations (): void {
  if (hooked) return
  hooked = true
  registerHooks({
    resolve (specifier, context, nextResolve) {
      const generation = /[?&]gen=(\d+)/.exec(context.parentURL ?? '')?.[1]
      const resolved = resolveFrom(specifier, context, nextResolve, generation !== undefined)
      if (generation === undefined || /[?&]gen=/.test(resolved.url) || ![...roots].some((root) => resolved.url.startsWith(root))) return resolved
      return { ...resolved, url: `${resolved.url}?gen=${generation}` }
    }
  })
}

/** A feature outside the checkout finds the server's packages, unless it has its own. */
function resolveFrom (specifier: string, context: ResolveHookContext, next: (specifier: string, context?: Partial<ResolveHookContext>) => ResolveFnOutput, isFeature: boolean): ResolveFnOutput {
  try {
    return next(specifier, context)
  } catch (error) {
    if (!isFeature || /^[./]|^[a-z]+:/.test(specifier)) throw error
    return next(specifier, { ...context, parentURL: import.meta.url })
  }
}

const metaSymbol = Symbol.for('plugin-meta')

/**
 * Loads a feature's code as it is on disk now.
 *
 * @param generation a number never used before for this feature
 * @throws what the code throws while it loads, or when it exports no plugin
 */
export async function importFeature (feature: FoundFeature, generation: number): Promise<FeatureModule> {
  hookGenerations()
  const module = await import(`${pathToFileURL(feature.entry).href}?gen=${generation}`) as {
    default?: FastifyPluginAsync & { [metaSymbol]?: { name?: string, dependencies?: string[] } }
    requests?: RequestMap
    version?: string
  }
  const plugin = module.default
  if (typeof plugin !== 'function') throw new Error(`${fileURLToPath(pathToFileURL(feature.entry))} does not export a plugin as its default`)
  return {
    plugin,
    dependencies: plugin[metaSymbol]?.dependencies ?? [],
    version: module.version,
    types: Object.keys(module.requests ?? {})
  }
}
