import { resolve } from 'node:path'
import fp from 'fastify-plugin'
import { findFeatures, findPackage } from './discovery.ts'
import type { FoundFeature } from './discovery.ts'
import type { Generation } from './generation.ts'
import type { FeatureSlots } from './feature.ts'
import { createExecutor } from './apply.ts'
import type { Changed } from './apply.ts'
import { chooseFeatures } from './choose.ts'
import { createDesiredState } from './desired.ts'
import { createKeptResources } from './keep.ts'
import type { Keep } from './keep.ts'
import { createLoader } from './loader.ts'
import type { Rescan } from './loader.ts'
import { createRegistry } from './registry.ts'
import type { FeatureState, Known } from './registry.ts'
import { createSettings } from './settings.ts'
import { watchFeatures } from './watch.ts'

export type { Changed } from './apply.ts'
export type { FeatureState } from './registry.ts'
export type { Rescan } from './loader.ts'

export interface FeatureInfo {
  name: string
  /** `failed`: it should run and does not. */
  state: FeatureState
  version: string | undefined
  /** Of the one that runs; 0 when none does. */
  generation: number
  dependencies: readonly string[]
  /** Epoch milliseconds. */
  loadedAt: number | undefined
  /** Why it does not run; or, of one that runs, why its last change could not be made. */
  error: string | undefined
  messages: readonly string[]
  /** `GET /path`. */
  routes: readonly string[]
  /** The settings with which it runs. */
  config: Readonly<Record<string, unknown>>
  /** What can be set, as JSON Schema. */
  configSchema: Record<string, unknown>
}

/** The features there are and those that run. */
export interface Features {
  /** Names of those that run, each after those it depends on. */
  enabled (): string[]
  list (): FeatureInfo[]
  /** What runs now. Another generation is another object. */
  generations (): Generation[]
  /**
   * Returns the object with which a running feature decorates its instance
   * under its own name (in camel case, for a name with dashes).
   *
   * @returns undefined if the feature does not run, or decorates nothing under its name
   */
  getFeature<K extends keyof FeatureSlots> (name: K): FeatureSlots[K] | undefined

  // Changes. They are made one after the other; each is made on this server,
  // kept in the store, and then followed by all servers. One that fails has
  // changed nothing. They throw FEATURE_NOT_FOUND, FEATURE_IN_USE,
  // DEPENDENCY_DISABLED, FEATURE_LOAD_FAILED and, without the store, UNAVAILABLE.

  /** @param cascade run what it depends on, too */
  enable (name: string, cascade?: boolean): Promise<Changed>
  /** @param cascade turn off what depends on it, too */
  disable (name: string, cascade?: boolean): Promise<Changed>
  /** Puts its code, as it is on disk now, in the place of what runs. */
  reload (name: string): Promise<Changed>
  /**
   * Changes its settings, and reloads it.
   *
   * @param patch null takes a setting back
   * @throws VALIDATION_FAILED also, by the feature's own schema
   */
  configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed>
  /** Looks for features that have appeared or vanished. */
  rescan (): Promise<Rescan>
}

declare module 'fastify' {
  interface FastifyInstance {
    features: Features
    /** For features that are registered like plain plugins: they share the keys, and the resources are disposed when the server closes. */
    keep: Keep
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A feature runs that did not before; not called for a reload. */
    'feature:enabled': (name: string) => void
    /** A generation of a feature is in force, the first or one after a reload. */
    'feature:loaded': (name: string) => void
    /** A feature is about to be turned off, and hears of it itself; not called for a reload. */
    'feature:disabled': (name: string) => void
  }
}

declare module '../cluster/messages.ts' {
  interface ClusterMessages {
    /** The settings of features have changed. */
    'features:changed': Record<string, never>
  }
}

/** How often a server looks at the settings without having been told to, in milliseconds. */
const lookMs = 10_000

const camelCase = (name: string) => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

export interface FeatureOptions {
  /** Where features are looked for, besides FEATURES_PATH and FEATURES_PACKAGES. */
  featuresDir: string
}

/**
 * The feature loader: finds features, runs each in a child instance of its own
 * in the order of their dependencies, and puts what they register in force as
 * a whole. One that fails is reported and holds nobody up.
 */
export default fp<FeatureOptions>(async function features (app, { featuresDir }) {
  const { config, log } = app
  const folders = [featuresDir, ...config.FEATURES_PATH].map((folder) => resolve(folder))

  function find (): FoundFeature[] {
    const packages = config.FEATURES_PACKAGES.flatMap((name) => {
      try {
        return [findPackage(name, process.cwd())]
      } catch (err) {
        log.error({ err, package: name }, 'package in FEATURES_PACKAGES not found')
        return []
      }
    })
    return [...findFeatures(folders).filter(({ name }) => !packages.some((other) => other.name === name)), ...packages]
  }

  const isOn = (name: string) => chooseFeatures([name], config.featureDefaults, config.FEATURES).on.has(name)
  const registry = createRegistry(app)
  const executor = createExecutor(app, registry)
  const desired = createDesiredState(createSettings(app.kv.namespace('features enabled')), isOn, () => { app.cluster.send('features:changed', {}) })
  const loader = createLoader({ registry, executor, desired, find, log })

  app.decorate('features', {
    enabled: () => registry.serving().map(({ name }) => name),
    list: () => [...registry.known].sort(([a], [b]) => a.localeCompare(b)).map(([name, feature]) => describe(name, feature)),
    generations: registry.serving,
    getFeature<K extends keyof FeatureSlots> (name: K) {
      const decorator = camelCase(name)
      // A feature may also have been registered on the kernel like any plugin.
      const from = registry.running(name)?.app ?? app
      return (from as unknown as Record<string, unknown>)[decorator] as FeatureSlots[K] | undefined
    },
    enable: (name, cascade = false) => loader.enable(name, cascade),
    disable: (name, cascade = false) => loader.disable(name, cascade),
    reload: (name) => loader.reload(name),
    configure: (name, patch) => loader.configure(name, patch),
    rescan: () => loader.rescan()
  } satisfies Features)

  const kept = createKeptResources(log)
  app.decorate('keep', kept.keep)

  // The kernel can't get new routes once it runs, so what it does not know is
  // handed to the feature that does.
  app.addHook('onRequest', (request, reply, done) => {
    const generation = request.is404 ? executor.router.find(request.method, request.url) : undefined
    if (!generation) return done()
    reply.hijack()
    for (const [header, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(header, value)
    }
    generation.app.routing(request.raw, reply.raw)
  })

  const started = loader.start()
  const follow = () => { loader.reconcile().catch((err: unknown) => log.warn({ err }, 'failed to read the feature settings')) }
  // Listening while it starts: what is changed meanwhile is followed right after.
  app.cluster.on('features:changed', follow)
  app.bus.onHealed(follow)
  await started
  // Whoever changed something may have died before it could say so.
  const looking = setInterval(follow, lookMs)
  for (const name of chooseFeatures([...registry.known.keys()], config.featureDefaults, config.FEATURES).unknown) log.warn({ feature: name, folders }, 'feature in FEATURES not found')
  log.info({ enabled: app.features.enabled().join(', ') }, 'features enabled')

  const watcher = config.FEATURES_WATCH ? await watchFeatures(folders, (names) => loader.touched(names), log) : undefined

  app.addHook('onClose', async () => {
    clearInterval(looking)
    await watcher?.close()
    await loader.stop()
    await kept.dispose()
  })
}, {
  name: 'features',
  dependencies: ['config', 'errors', 'metrics', 'hooks', 'messages', 'store', 'kv', 'blobs', 'directory', 'jobs', 'cluster', 'sockets', 'rooms', 'sfu', 'drain', 'admin', 'http', 'gate']
})

function describe (name: string, { state, module, generation, error }: Known): FeatureInfo {
  const code = generation?.module ?? module
  return {
    name,
    state,
    version: code?.version,
    generation: generation?.number ?? 0,
    dependencies: code?.dependencies ?? [],
    loadedAt: generation?.loadedAt,
    error: error?.message,
    messages: code?.types ?? [],
    routes: generation?.routes.map(({ method, url }) => `${method} ${url}`) ?? [],
    config: generation?.config ?? {},
    configSchema: code?.configSchema ?? {}
  }
}
