import { resolve } from 'node:path'
import fp from 'fastify-plugin'
import findMyWay from 'find-my-way'
import { routerOptions } from '../../config/router.ts'
import { findFeatures, importFeature } from './discovery.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { buildGeneration } from './generation.ts'
import type { Generation } from './generation.ts'
import { chooseFeatures, inOrder } from './graph.ts'

export type FeatureState = 'enabled' | 'disabled' | 'failed'

export interface FeatureInfo {
  name: string
  state: FeatureState
  version: string | undefined
  generation: number
  dependencies: readonly string[]
  loadedAt: number | undefined
  error: string | undefined
  messages: readonly string[]
  routes: readonly string[]
}

/** The features there are and those that run. */
export interface Features {
  /** Names of those that run, in the order in which they were started. */
  enabled (): string[]
  list (): FeatureInfo[]
  /**
   * What a running feature decorates the instance with under its own name.
   *
   * @param name in camel case for a feature with dashes
   */
  slot<T> (name: string): T | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    features: Features
  }
}

interface Known {
  found: FoundFeature
  state: FeatureState
  imports: number
  module?: FeatureModule
  generation?: Generation
  error?: Error
}

/** How long calls of a generation that was replaced may go on, in milliseconds. */
const drainMs = 10_000

const camelCase = (name: string) => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

export interface FeatureOptions {
  /** Where features are looked for, besides FEATURES_PATH. */
  featuresDir: string
}

/**
 * The feature loader: finds features, runs each in a child instance of its own
 * in the order of their dependencies, and puts what they register in force as
 * a whole. One that fails is reported and holds nobody up.
 */
export default fp<FeatureOptions>(async function features (app, { featuresDir }) {
  const folders = [featuresDir, ...app.config.FEATURES_PATH].map((folder) => resolve(folder))
  const known = new Map<string, Known>()
  let router = createRouter([])

  const loaded = app.metrics.gauge('flylive_feature_generation', 'Generation of each feature that runs; 0 when it does not', ['feature'])

  const slot = (name: string) => known.get(name)?.generation?.app as unknown as Record<string, unknown> | undefined

  app.decorate('features', {
    enabled: () => [...known].filter(([, { state }]) => state === 'enabled').map(([name]) => name),
    list: () => [...known].sort(([a], [b]) => a.localeCompare(b)).map(([name, { state, module, generation, error }]) => ({
      name,
      state,
      version: module?.version,
      generation: generation?.number ?? 0,
      dependencies: module?.dependencies ?? [],
      loadedAt: generation?.loadedAt,
      error: error?.stack,
      messages: generation?.table.routes.map((route) => route.type) ?? module?.types ?? [],
      routes: generation?.routes.map((route) => `${route.method} ${route.url}`) ?? []
    })),
    slot<T> (name: string) {
      const decorator = camelCase(name)
      // A feature may also have been registered on the kernel like any plugin.
      return (slot(name)?.[decorator] ?? (app as unknown as Record<string, unknown>)[decorator]) as T | undefined
    }
  } satisfies Features)

  // The kernel can't get new routes once it runs, so what it does not know is
  // handed to the feature that does.
  app.addHook('onRequest', (request, reply, done) => {
    if (!request.is404) return done()
    const match = router.find(request.method as never, request.url.split('?')[0] ?? '/')
    const generation = match?.store as Generation | undefined
    if (!generation) return done()
    reply.hijack()
    for (const [header, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(header, value)
    }
    generation.app.routing(request.raw, reply.raw)
  })

  /**
   * Builds a feature anew and puts it in the place of what ran before; on
   * failure nothing has changed.
   *
   * @param imported its code, where that has just been loaded
   */
  async function load (name: string, imported?: FeatureModule): Promise<void> {
    const feature = known.get(name)
    if (!feature) throw new Error(`There is no feature ${name}`)
    const module = imported ?? await importFeature(feature.found, ++feature.imports)
    const generation = await buildGeneration(app, { name, number: feature.imports, module }, slot, (other) => known.get(other)?.generation?.provides)
    const old = feature.generation
    let replaced
    try {
      const next = createRouter([...running(name), generation])
      replaced = app.messages.install(name, generation.table)
      router = next
    } catch (error) {
      await generation.app.close()
      throw error
    }
    app.hooks.install(name, generation.hooks)
    app.agenda.install(name, generation.jobs)
    Object.assign(feature, { state: 'enabled', module, generation, error: undefined })
    loaded.set({ feature: name }, generation.number)
    if (old) await retire(old, replaced)
  }

  /** Takes a feature out of service. */
  async function unload (name: string): Promise<void> {
    const feature = known.get(name)
    const old = feature?.generation
    if (!feature || !old) return
    router = createRouter(running(name))
    const replaced = app.messages.install(name, undefined)
    app.hooks.install(name, [])
    app.agenda.install(name, new Map())
    app.messages.disable(name, old.table.routes.map((route) => route.type))
    delete feature.generation
    feature.state = 'disabled'
    loaded.set({ feature: name }, 0)
    await retire(old, replaced)
  }

  /** Lets what runs in a replaced generation end, then closes it. */
  async function retire (old: Generation, calls: { idle (): Promise<void> }): Promise<void> {
    const deadline = Date.now() + drainMs
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, drainMs).unref())
    await Promise.race([calls.idle(), timeout])
    while (old.running > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5))
    await old.app.close()
  }

  function running (except: string): Generation[] {
    return [...known.values()].flatMap(({ found, generation }) => generation && found.name !== except ? [generation] : [])
  }

  function failed (feature: Known, error: unknown): void {
    feature.state = 'failed'
    feature.error = error instanceof Error ? error : new Error(String(error))
    app.log.error({ err: error, feature: feature.found.name }, 'a feature could not be loaded')
    loaded.set({ feature: feature.found.name }, 0)
    if (feature.module) app.messages.disable(feature.found.name, feature.module.types)
  }

  for (const found of findFeatures(folders)) known.set(found.name, { found, state: 'disabled', imports: 0 })
  const { on, unknown } = chooseFeatures([...known.keys()], app.config.featureDefaults, app.config.FEATURES)
  for (const name of unknown) app.log.warn({ feature: name, folders }, 'FEATURES names a feature that is not there')

  const dependencies = new Map<string, readonly string[]>()
  for (const [name, feature] of known) {
    loaded.set({ feature: name }, 0)
    try {
      feature.module = await importFeature(feature.found, ++feature.imports)
      if (on.has(name)) dependencies.set(name, feature.module.dependencies)
      else app.messages.disable(name, feature.module.types)
    } catch (error) {
      if (on.has(name)) failed(feature, error)
      else feature.error = error instanceof Error ? error : new Error(String(error))
    }
  }
  const { order, circular } = inOrder(dependencies)
  for (const name of circular) failed(known.get(name) as Known, new Error(`The feature ${name} depends on itself`))
  for (const name of order) {
    await load(name, known.get(name)?.module).catch((error: unknown) => failed(known.get(name) as Known, error))
    // Later ones are listed, and closed, after those they depend on.
    const feature = known.get(name) as Known
    known.delete(name)
    known.set(name, feature)
  }
  app.log.info({ enabled: app.features.enabled().join(', ') }, 'features')

  app.addHook('onClose', async () => {
    for (const name of app.features.enabled().reverse()) await unload(name)
  })
}, {
  name: 'features',
  dependencies: ['config', 'errors', 'metrics', 'hooks', 'messages', 'store', 'agenda', 'bus', 'control', 'sockets', 'rooms', 'sfu', 'drain', 'admin', 'http']
})

function createRouter (generations: readonly Generation[]) {
  const router = findMyWay({ ...routerOptions, ignoreTrailingSlash: false })
  for (const generation of generations) {
    for (const { method, url } of generation.routes) router.on(method as never, url, () => {}, generation)
  }
  return router
}
