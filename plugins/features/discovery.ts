import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { createRequire, findPackageJSON, registerHooks } from 'node:module'
import type { ResolveFnOutput, ResolveHookContext } from 'node:module'
import { basename, dirname, join, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { FastifyPluginAsync } from 'fastify'
import { z } from 'zod'
import { withTimeout } from '../errors/timeout.ts'
import type { RequestMap } from '../schema/messages.ts'
import { settingsJsonSchema } from '../schema/variables.ts'
import { forParsedSettings } from './define.ts'
import { isName, kernelPlugins } from './names.ts'

/** An installed feature: a folder or a package. */
export interface FoundFeature {
  name: string
  /** Absolute path of the feature's index file. */
  entry: string
  /**
   * Finds the index file again, because it may have another path now: a symbolic link may point to another release.
   *
   * @returns undefined if the feature is gone
   */
  locate (): string | undefined
}

/** A feature's exports, read without starting the feature. */
export interface FeatureModule {
  plugin: FastifyPluginAsync<Record<string, unknown>>
  /** The features and kernel plugins that the feature depends on, from its fastify-plugin metadata. */
  declaredDependencies: readonly string[]
  /** The features that the feature depends on. */
  dependencies: readonly string[]
  /** The decorators that the dependencies must provide, from the feature's fastify-plugin metadata. */
  decorators: readonly string[]
  version: string | undefined
  /**
   * The message types of the feature's requests, from its `requests` export. The types are available even while the
   * feature is off.
   */
  types: readonly string[]
  /**
   * The beginnings of the ids of rooms that only this feature creates, from its `roomPrefixes` export. While the feature
   * is off, nobody can join such a room.
   */
  roomPrefixes: readonly string[]
  /** The feature's error table, from its `errors` export. */
  errors: Readonly<Record<string, unknown>>
  /** Schema of the feature's settings, from its `config` export. */
  config: z.ZodObject
  /** The schema of the settings, converted to JSON Schema. */
  configSchema: Record<string, unknown>
}

const entries = ['index.ts', 'index.js', 'index.mjs']
/** The URLs of the folders whose code is reloaded for each generation, keyed by path. */
const roots = new Map<string, string>()
/**
 * The paths of those folders that contain several features. All these features may use the files outside the features'
 * own folders.
 */
const sharedRoots = new Set<string>()

/**
 * Finds features, which are subfolders with an index file.
 *
 * @param folders absolute paths of the folders to search. A feature in a later folder replaces a feature with the same
 *   name in an earlier folder
 */
export function findFeatures (folders: readonly string[]): FoundFeature[] {
  const found = new Map<string, FoundFeature>()
  for (const folder of folders) {
    if (!existsSync(folder)) continue
    for (const item of readdirSync(folder, { withFileTypes: true })) {
      if (!item.isDirectory() && !item.isSymbolicLink()) continue
      if (!isName(item.name)) continue
      const locate = () => locateIn(folder, item.name)
      const entry = locate()
      if (entry !== undefined) found.set(item.name, { name: item.name, entry, locate })
    }
    addSharedRoot(folder)
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name))
}

/** @returns the absolute path of a feature's index file; undefined if there is none */
function locateIn (folder: string, name: string): string | undefined {
  const file = entries.find((entry) => existsSync(join(folder, name, entry)))
  if (file === undefined) return undefined
  // Resolve symbolic links, because Node resolves imports by the real path.
  const entry = realpathSync(join(folder, name, file))
  addRoot(dirname(entry))
  addSharedRoot(folder)
  return entry
}

/**
 * Finds a feature that is an npm package.
 *
 * @param name the name of the package. Without its scope, the name of the package is also the name of the feature
 * @param from the folder from which the package is resolved
 * @throws if the package does not exist, or its name is not a valid feature name
 */
export function findPackage (name: string, from: string): FoundFeature {
  hookGenerations()
  const base = pathToFileURL(join(from, 'package.json')).href
  function locate (): string {
    const resolved = resolvePackage(name, base)
    const description = findPackageJSON(name, base) ?? fileURLToPath(resolved)
    addRoot(dirname(realpathSync(description)))
    return realpathSync(fileURLToPath(resolved))
  }
  const entry = locate()
  if (!isName(basename(name))) throw new Error(`${basename(name)} is not a valid feature name`)
  return { name: basename(name), entry, locate }
}

// Node loads a module once per URL. The URL of a feature's index file contains the generation number. This hook adds
// the number to the URL of each of the feature's own modules. All other modules are shared between generations.
const generationIn = /\?gen=\d+&load=\d+$/
let hooked = false
function hookGenerations (): void {
  if (hooked) return
  hooked = true
  registerHooks({
    resolve (specifier, context, nextResolve) {
      const generation = generationIn.exec(context.parentURL ?? '')?.[0]
      const resolved = resolveFrom(specifier, context, nextResolve, generation !== undefined)
      if (generation === undefined || generationIn.test(resolved.url) || !isOwnFile(resolved.url, roots.values())) return resolved
      return { ...resolved, url: resolved.url + generation }
    }
  })
}

function addRoot (folder: string): string {
  const path = join(folder, sep)
  roots.set(path, pathToFileURL(path).href)
  return path
}

const addSharedRoot = (folder: string) => { sharedRoots.add(addRoot(realpathSync(folder))) }

/** @returns the innermost of the {@link roots} that contains a file */
function rootOf (path: string): string | undefined {
  let innermost: string | undefined
  for (const root of roots.keys()) if (path.startsWith(root) && root.length > (innermost?.length ?? 0)) innermost = root
  return innermost
}

const serverPath = join(import.meta.dirname, '..', '..', sep)
/** The server's folder, as a path and as a URL. */
const serverFolders = [serverPath, pathToFileURL(serverPath).href]

/**
 * Whether a file belongs to a feature, rather than to the server or to a package that the feature uses.
 *
 * @param file a URL or a path; the `folders` must have the same form
 */
function isOwnFile (file: string, folders: Iterable<string>): boolean {
  for (const folder of folders) {
    if (!file.startsWith(folder) || file.slice(folder.length).includes('node_modules/')) continue
    // A folder in FEATURES_PATH may contain the server's folder. The server's files still belong to the server.
    if (!serverFolders.some((server) => server.startsWith(folder) && file.startsWith(server))) return true
  }
  return false
}

/**
 * Lets a feature import the server's packages even if the feature is not in the server's folder. The feature's own
 * packages take precedence.
 */
function resolveFrom (specifier: string, context: ResolveHookContext, next: (specifier: string, context?: Partial<ResolveHookContext>) => ResolveFnOutput, isFeature: boolean): ResolveFnOutput {
  try {
    return next(specifier, context)
  } catch (error) {
    if (!isFeature || /^[./]|^[a-z]+:/.test(specifier)) throw error
    return next(specifier, { ...context, parentURL: import.meta.url })
  }
}

/** @returns the URL that `import name` would load in a module at `base` */
function resolvePackage (name: string, base: string): string {
  let url: string | undefined
  // import.meta.resolve resolves names relative to this file. The hook resolves `name` relative to `base` instead.
  const hook = registerHooks({
    resolve (specifier, context, nextResolve) {
      if (specifier !== name) return nextResolve(specifier, context)
      const resolved = nextResolve(specifier, { ...context, parentURL: base })
      url = resolved.url
      return resolved
    }
  })
  try {
    return url ?? import.meta.resolve(name)
  } finally {
    hook.deregister()
  }
}

/**
 * The versions in `package.json` files, by path. This cache exists because most features belong to the same package.
 */
const versions = new Map<string, { mtimeMs: number, version: string | undefined }>()

/** @returns the version of the package that a file belongs to */
function versionOf (entry: string): string | undefined {
  const file = findPackageJSON(pathToFileURL(entry))
  // If the file belongs to no package, Node returns the file itself.
  if (file === undefined || basename(file) !== 'package.json') return undefined
  const { mtimeMs } = statSync(file)
  const known = versions.get(file)
  if (known?.mtimeMs === mtimeMs) return known.version
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version?: string }
  versions.set(file, { mtimeMs, version })
  return version
}

const metaSymbol = Symbol.for('plugin-meta')

interface PluginMeta {
  name?: string
  dependencies?: string[]
  decorators?: { fastify?: string[] }
}

/**
 * Number of times that this process has imported feature code from disk. The number makes the URL of each such import
 * unique.
 */
let loads = 0
/** Timeout of an import, in milliseconds. */
const importMs = 30_000
const require = createRequire(import.meta.url)

/**
 * Reloads the CommonJS modules of a feature, and the modules that it may share with other features. Node caches a
 * CommonJS module by path alone, so importing the module by a new URL does not reload it. The modules in the folders of
 * other features are not reloaded, because that would run their code again.
 *
 * Removes the modules from the cache and requires them again. Without the second step, a repeated `require` in an
 * imported module returns the empty placeholder that Node 24's ES module loader caches.
 */
function reloadCommonJs ({ entry }: FoundFeature): void {
  const own = rootOf(entry)
  const paths = Object.keys(require.cache).filter((path) => {
    const root = rootOf(path)
    return root !== undefined && (root === own || sharedRoots.has(root)) && isOwnFile(path, roots.keys())
  })
  for (const path of paths) delete require.cache[path]
  for (const path of paths) {
    try {
      require(path)
    } catch {
      // If the feature still needs this module, importing the feature reports the error.
    }
  }
}

/**
 * Loads a feature's current code from disk.
 *
 * @param generation the sequence number of the feature's new generation
 * @param fresh whether the code may have changed since this process loaded it; if false, the loaded code is reused
 * @throws if the code throws, if it exports no plugin or an invalid `config`, or if the import times out
 */
export async function importFeature (feature: FoundFeature, generation: number, fresh: boolean): Promise<FeatureModule> {
  hookGenerations()
  if (fresh) {
    loads++
    reloadCommonJs(feature)
  }
  const loading: Promise<unknown> = import(`${pathToFileURL(feature.entry).href}?gen=${generation}&load=${loads}`)
  const module = await withTimeout(loading, importMs, () => {
    throw new Error(`${feature.entry} did not load within ${importMs / 1000} s: check its top-level await`)
  }) as {
    default?: FastifyPluginAsync<Record<string, unknown>> & { [metaSymbol]?: PluginMeta }
    requests?: RequestMap
    roomPrefixes?: readonly string[]
    errors?: Record<string, unknown>
    config?: z.ZodObject
    version?: string
  }
  const plugin = module.default
  if (typeof plugin !== 'function') throw new Error(`The default export of ${feature.entry} is not a plugin`)
  const { requests = {}, roomPrefixes = [], errors = {}, config = z.object({}) } = module
  if (!(config instanceof z.ZodObject)) throw new Error(`The config export of ${feature.entry} is not a zod object`)
  const meta = plugin[metaSymbol]
  const declaredDependencies = meta?.dependencies ?? []
  return {
    plugin: forParsedSettings(plugin),
    declaredDependencies,
    dependencies: declaredDependencies.filter((name) => !kernelPlugins.has(name)),
    decorators: meta?.decorators?.fastify ?? [],
    version: module.version ?? versionOf(feature.entry),
    types: Object.keys(requests),
    roomPrefixes,
    errors,
    config,
    configSchema: settingsJsonSchema(config)
  }
}
