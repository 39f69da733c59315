import { FeatureDisabled, NotFound } from '../errors/codes.ts'
import { resolve } from 'node:path'
import fp from 'fastify-plugin'
import { findFeatures, findPackage } from './discovery.ts'
import type { FoundFeature } from './discovery.ts'
import { createKeptResources } from './generation.ts'
import type { Generation, Keep } from './generation.ts'
import type { FeatureSlots } from './feature.ts'
import { createExecutor, findKernelRoutes } from './apply.ts'
import type { Changed } from './apply.ts'
import { chooseFeatures } from './plan.ts'
import { createDesiredState, createSettings } from './settings.ts'
import { createLoader } from './loader.ts'
import type { Rescan } from './follower.ts'
import { createRegistry } from './registry.ts'
import { createSupervisor } from './supervisor.ts'
import type { FeatureState, Known } from './registry.ts'
import { watchFeatures } from './watch.ts'
import { masked } from '../schema/variables.ts'

export type { Changed } from './apply.ts'
export type { FeatureState } from './registry.ts'
export type { Rescan } from './follower.ts'

export interface FeatureInfo {
  name: string
  /** `failed`: enabled, but either not running, or suspended after too many faults. */
  state: FeatureState
  version: string | undefined
  /** Number of the running generation; 0 if the feature is not running. */
  generation: number
  dependencies: readonly string[]
  /** Epoch milliseconds. */
  loadedAt: number | undefined
  /** Why the feature is not running, or why its last change failed. */
  error: string | undefined
  messages: readonly string[]
  /** The feature's routes, each in the form `GET /path`. */
  routes: readonly string[]
  /** The current settings. */
  config: Readonly<Record<string, unknown>>
  configSchema: Record<string, unknown>
}

/** Lists, enables, disables, configures and reloads the server's features. */
export interface Features {
  /** Names of the running features. In this list, each feature comes after its dependencies. */
  enabled (): string[]
  /** True if the feature is turned on. It may have failed, or may not have started yet. */
  isEnabled (name: string): boolean
  list (): FeatureInfo[]
  /** The running generations. Each reload of a feature creates a new {@link Generation}. */
  generations (): Generation[]
  /**
   * Returns the object that a running feature provides: the decorator named after the feature, in camel case.
   *
   * @returns undefined if the feature is not running or provides no object
   * @throws UNAVAILABLE if `name` is `auth` and the `auth` feature should run but has failed
   */
  getFeature<K extends keyof FeatureSlots> (name: K): FeatureSlots[K] | undefined

  // Changes to features run one at a time. This server applies and stores each change, and then all other servers apply
  // it. A failed change has no effect. The methods throw FEATURE_NOT_FOUND, FEATURE_IN_USE, DEPENDENCY_DISABLED or
  // FEATURE_LOAD_FAILED. If the store cannot be reached, the methods throw UNAVAILABLE.

  /** @param cascade whether to enable the feature's dependencies as well */
  enable (name: string, cascade?: boolean): Promise<Changed>
  /** @param cascade whether to disable the feature's dependents as well */
  disable (name: string, cascade?: boolean): Promise<Changed>
  /** Reloads the feature's code from disk. */
  reload (name: string): Promise<Changed>
  /**
   * Changes the feature's settings and reloads the feature.
   *
   * @param patch the new values of the settings to change; null removes the value that an admin has set
   * @throws VALIDATION_FAILED if the feature's schema rejects the settings
   */
  configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed>
  /** Finds features that were added or removed on disk, and loads or unloads them. */
  rescan (): Promise<Rescan>
}

declare module 'fastify' {
  interface FastifyInstance {
    features: Features
    /**
     * Keeps the resources of features that are registered as plain plugins. All these features share one set of keys.
     * The server disposes of the resources when it closes.
     */
    keep: Keep
  }
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** A feature was enabled. A reload does not call this hook. */
    'feature:enabled': (name: string) => void
    /** A new generation of a feature is now in service: the feature was started or reloaded. */
    'feature:loaded': (name: string) => void
    /**
     * A feature is about to be disabled. The server also calls the handlers that this feature itself has registered. A
     * reload does not call this hook.
     */
    'feature:disabled': (name: string) => void
  }
}

/** A server publishes an empty message on this bus channel after it has changed the cluster-wide feature settings. */
const settingsChannel = 'features'

/** Interval, in milliseconds, at which this server rereads the settings, in case a notification was lost. */
const lookMs = 10_000

const camelCase = (name: string) => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

export interface FeatureOptions {
  /** A folder of features, in addition to FEATURES_PATH and FEATURES_PACKAGES. */
  featuresDir: string
}

/**
 * The feature loader: finds features, starts each feature after its dependencies in a separate Fastify instance, and
 * installs the feature's registrations atomically. If a feature fails to load, the error is logged, and the features
 * that do not depend on it still start.
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
  const supervisor = createSupervisor(app, registry)
  const executor = createExecutor(app, registry, supervisor)
  const desired = createDesiredState(createSettings(app.kv.namespace('features')), isOn, () => { app.bus.publish(settingsChannel, '') })
  const loader = createLoader({ registry, executor, desired, find, log })
  supervisor.actWith(loader)
  app.hooks.on('feature:loaded', (name) => { if (!loader.isRestarting(name)) supervisor.replaced(name, registry.numberOf(name)) })

  // While a feature is off, nobody can join the rooms that only this feature creates. Otherwise, the first user would
  // create the room and own it.
  app.hooks.on('room:admit', async (roomId) => {
    for (const [name, { generation, module }] of registry.known) {
      if (!generation && module?.roomPrefixes.some((prefix) => roomId.startsWith(prefix))) throw new FeatureDisabled(name)
    }
    return undefined
  })

  app.decorate('features', {
    enabled: () => registry.serving().map(({ name }) => name),
    isEnabled: (name) => registry.known.has(name) && desired.isWanted(name),
    list: () => [...registry.known].sort(([a], [b]) => a.localeCompare(b)).map(([name, feature]) => describe(name, feature)),
    generations: registry.serving,
    getFeature<K extends keyof FeatureSlots> (name: K) {
      // Without this check, a server that allows anonymous access would admit everyone once `auth` has failed.
      if (name === 'auth') registry.assertNotFailed(name)
      const decorator = camelCase(name)
      // A feature may also be registered directly on the kernel, as a plain plugin.
      const from = registry.running(name)?.app ?? app
      return (from as unknown as Record<string, unknown>)[decorator] as FeatureSlots[K] | undefined
    },
    enable: loader.enable,
    disable: loader.disable,
    reload: loader.reload,
    configure: loader.configure,
    rescan: loader.rescan
  } satisfies Features)

  const kept = createKeptResources(log)
  app.decorate('keep', kept.keep)

  // Fastify accepts no new routes once it has started, so unmatched requests are routed to the features here.
  app.addHook('onRequest', (request, reply, done) => {
    const generation = request.is404 ? executor.find(request.method, request.url) : undefined
    // Reject unknown paths before the body is read, to save work.
    if (!generation) return done(request.is404 ? new NotFound(request.url.split('?')[0]) : undefined)
    reply.hijack()
    for (const [header, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(header, value)
    }
    generation.supervision.enter(`route ${request.method}`, () => generation.app.routing(request.raw, reply.raw))
  })

  const follow = () => { loader.reconcile().catch((err: unknown) => log.warn({ err }, 'failed to read the feature settings')) }
  const started = loader.start(app.bus.subscribe(settingsChannel, follow))
  app.bus.onHealed(follow)
  await started
  // Also poll the settings: a server may have died after it stored a change but before it notified the other servers.
  const looking = setInterval(follow, lookMs)
  for (const name of chooseFeatures([...registry.known.keys()], config.featureDefaults, config.FEATURES).unknown) log.warn({ feature: name, folders }, 'feature in FEATURES not found')
  for (const name of Object.keys(config.FEATURES_CONFIG)) if (!registry.known.has(name)) log.warn({ feature: name, folders }, 'feature in FEATURES_CONFIG not found')
  log.info({ enabled: app.features.enabled().join(', ') }, 'features enabled')

  app.addHook('onReady', async () => {
    for (const [name, error] of findKernelRoutes(app, registry)) {
      log.error({ err: error, feature: name }, 'failed to load a feature')
      await loader.takeOut(name, error)
    }
  })

  const watcher = config.FEATURES_WATCH ? await watchFeatures(folders, (names) => loader.touched(names), log) : undefined

  app.addHook('onClose', async () => {
    clearInterval(looking)
    await watcher?.close()
    await loader.stop()
    await kept.dispose()
    supervisor.close()
  })
}, {
  name: 'features',
  dependencies: ['config', 'errors', 'metrics', 'hooks', 'messages', 'store', 'kv', 'blobs', 'directory', 'jobs', 'cluster', 'sockets', 'rooms', 'sfu', 'drain', 'admin', 'http', 'gate']
})

/** @returns a copy that can be sent as JSON: a bigint, which JSON does not have, becomes a string */
const toJson = (settings: Record<string, unknown>) =>
  JSON.parse(JSON.stringify(settings, (_key, value: unknown) => typeof value === 'bigint' ? String(value) : value)) as Record<string, unknown>

function describe (name: string, { state, module, generation, error }: Known): FeatureInfo {
  const code = generation?.module ?? module
  return {
    name,
    state,
    version: code?.version,
    generation: generation?.number ?? 0,
    dependencies: code?.declaredDependencies ?? [],
    loadedAt: generation?.loadedAt,
    error: error?.message,
    messages: code?.types ?? [],
    routes: generation?.routes.map(({ method, url }) => `${method} ${url}`) ?? [],
    config: generation ? toJson(masked(generation.module.config, generation.config)) : {},
    configSchema: code?.configSchema ?? {}
  }
}
