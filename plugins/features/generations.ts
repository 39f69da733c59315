import type { FastifyInstance } from 'fastify'
import { unavailable, validationFailed } from '../errors/codes.ts'
import { withTimeout } from '../errors/timeout.ts'
import { importFeature } from './discovery.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { checkRoute } from '../gate/claims.ts'
import { dependencyDisabled, FeatureNotFound } from './errors.ts'
import { loadFailed } from './failure.ts'
import { buildGeneration } from './generation.ts'
import type { Generation } from './generation.ts'
import { inOrder } from './graph.ts'
import { createRouter } from './router.ts'
import type { FeatureRouter } from './router.ts'
import type { FeatureSetting } from './settings.ts'

export type FeatureState = 'enabled' | 'disabled' | 'failed'

/** One feature on this server. */
export interface Known {
  found: FoundFeature
  /** `failed`: it should run and does not. */
  state: FeatureState
  module?: FeatureModule
  generation?: Generation
  /** Why it does not run, or why it runs as it did before the last change. */
  error?: Error
  /** What an admin has set of it, as far as this server has followed. */
  applied: FeatureSetting
}

/** What a change has come to: names, each in the order in which it happened. */
export interface Changed {
  enabled: string[]
  disabled: string[]
}

export interface Change {
  /** To be built anew, each after those it depends on. */
  load?: readonly { name: string, module: FeatureModule, config: Record<string, unknown> }[]
  /** To be taken out of service, each before those it depends on. */
  unload?: readonly string[]
  /** What must succeed for all this to be in force. */
  commit?: () => Promise<void>
}

/** The features that are known, and the generations that serve. */
export interface Generations {
  readonly known: Map<string, Known>
  readonly router: FeatureRouter
  /** @throws FEATURE_NOT_FOUND */
  get (name: string): Known
  running (name: string): Generation | undefined
  /** What those that run depend on. */
  dependencies (): Map<string, readonly string[]>
  /**
   * Loads a feature's code as it is on disk now; nothing of it runs.
   *
   * @param anew false for the first time, when the server starts
   * @throws FEATURE_LOAD_FAILED
   */
  load (name: string, anew?: boolean): Promise<FeatureModule>
  /**
   * @param set what an admin has set; it goes before FEATURES_CONFIG
   * @returns the settings with which the feature is to run
   * @throws VALIDATION_FAILED
   */
  configOf (module: FeatureModule, name: string, set: Readonly<Record<string, unknown>> | undefined): Record<string, unknown>
  /**
   * Puts new generations in the place of what runs, and takes others out of
   * service, all in one turn of the event loop; then waits for the calls of
   * what ran before. A failure before that leaves everything as it was.
   *
   * @throws FEATURE_LOAD_FAILED, DEPENDENCY_DISABLED, and what `commit` throws
   */
  change (change: Change): Promise<Changed>
  /** Notes why a change could not be made: what ran before goes on. */
  failed (name: string, error: unknown, wanted: boolean): void
  /** There is no such feature any more; it must not run. */
  forget (name: string): void
  stop (): Promise<void>
}

/** Each loaded generation of code stays in memory, 30 to 300 KB: from here on a restart is advised. */
const manyLoads = 300

export function createGenerations (app: FastifyInstance): Generations {
  const { gate, jobs, hooks, log, messages, metrics, sockets } = app
  const known = new Map<string, Known>()
  // Goes on when a feature is removed and comes back.
  const numbers = new Map<string, number>()
  const drainMs = app.config.FEATURES_DRAIN_SECONDS * 1000
  let router = createRouter([])
  let imports = 0

  const number = metrics.gauge('flylive_feature_generation', 'Generation of each feature that runs; 0 when it does not', ['feature'])
  const failing = metrics.gauge('flylive_feature_failed', 'Whether the last change of a feature could not be made on this server: 1 or 0', ['feature'])
  const loads = metrics.counter('flylive_feature_loads_total', 'Generations of features that were built, by result (ok or failed)', ['feature', 'result'])
  const loadTime = metrics.histogram('flylive_feature_load_seconds', 'Time from the begin of a change to its being in force', ['feature'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])

  const running = (name: string) => known.get(name)?.generation
  const serving = (except?: ReadonlySet<string>) => [...known].flatMap(([name, { generation }]) => generation && except?.has(name) !== true ? [generation] : [])
  const dependencies = () => new Map(serving().map(({ name, module }) => [name, module.dependencies] as const))

  function get (name: string): Known {
    const feature = known.get(name)
    if (!feature) throw new FeatureNotFound(name)
    return feature
  }

  async function load (name: string, anew = true): Promise<FeatureModule> {
    const feature = get(name)
    if (++imports % manyLoads === 0) log.warn({ imports }, 'the code of each generation stays in memory: restart the server when it suits you')
    const generation = (numbers.get(name) ?? 0) + 1
    numbers.set(name, generation)
    try {
      const module = await importFeature(feature.found, generation, anew)
      if (!feature.generation) feature.module = module
      return module
    } catch (error) {
      loads.inc({ feature: name, result: 'failed' })
      throw loadFailed(feature.found, error)
    }
  }

  /** Builds a feature's next generation; nothing of it is in force. */
  async function prepare (name: string, module: FeatureModule, config: Record<string, unknown>, pending: ReadonlyMap<string, Generation>): Promise<Generation> {
    const feature = get(name)
    const there = (other: string) => pending.get(other) ?? running(other)
    const off = module.dependencies.filter((other) => known.has(other) && !there(other))
    if (off.length > 0 && !off.includes(name)) throw dependencyDisabled(name, off)
    // Forgotten when it is built: a generation must not hold on to others of its time.
    let others = serving(new Set([name, ...pending.keys()])).concat([...pending.values()])
    let probe = createRouter(others)
    try {
      const { circular } = inOrder(new Map([...others.map((other) => [other.name, other.module.dependencies] as const), [name, module.dependencies]]))
      if (circular.length > 0) throw new Error(`The feature ${name} depends on itself`)
      const generation = await buildGeneration(app, {
        name,
        number: numbers.get(name) ?? 1,
        module,
        config,
        previouslyKept: () => running(name)?.kept,
        getFeature: (other) => there(other)?.app as unknown as Record<string, unknown> | undefined,
        provided: (other) => there(other)?.provides,
        claimMessage (type) {
          const owner = messages.ownerOf(type) ?? others.find(({ table }) => table.routes.some((route) => route.type === type))?.name
          if (owner !== undefined && owner !== name) throw new Error(`The message type ${type} belongs to ${owner}`)
        },
        pathOwners: () => [gate.kernel(), ...others],
        claimRoute (method, url) {
          const owner = app.hasRoute({ method: method as 'GET', url }) ? 'the server itself' : others.find(({ routes }) => routes.some((route) => route.method === method && route.url === url))?.name
          if (owner !== undefined) throw new Error(`The route ${method} ${url} belongs to ${owner}`)
          checkRoute(url, others)
          probe.add(method, url, undefined)
        }
      })
      const missing = serving().filter(({ module }) => module.dependencies.includes(name))
        .flatMap((dependent) => dependent.module.decorators.filter((decorator) => running(name)?.provides.includes(decorator) === true && !generation.provides.includes(decorator)).map((decorator) => `${dependent.name} needs app.${decorator}`))
      if (missing.length > 0) {
        await closeInTime(generation)
        throw new Error(missing.join(', '))
      }
      loads.inc({ feature: name, result: 'ok' })
      return generation
    } catch (error) {
      loads.inc({ feature: name, result: 'failed' })
      throw loadFailed(feature.found, error)
    } finally {
      others = []
      probe = createRouter([])
    }
  }

  async function change ({ load = [], unload = [], commit }: Change): Promise<Changed> {
    const begin = performance.now()
    const pending = new Map<string, Generation>()
    try {
      for (const { name, module, config } of load) pending.set(name, await prepare(name, module, config, pending))
      await commit?.()
    } catch (error) {
      for (const generation of [...pending.values()].reverse()) await closeInTime(generation)
      throw error
    }
    const ran = new Set(known.keys().filter((name) => running(name) !== undefined))
    const next = [...pending.values()]
    // From now on those that depend on one another find what runs.
    pending.clear()
    const old = [...unload, ...next.map(({ name }) => name)].flatMap((name) => running(name) ?? [])
    for (const name of unload) withdraw(name)
    for (const generation of next) install(generation, !ran.has(generation.name))
    for (const { name } of next) loadTime.observe({ feature: name }, (performance.now() - begin) / 1000)
    await Promise.all(old.map(retire))
    return { enabled: next.map(({ name }) => name).filter((name) => !ran.has(name)), disabled: unload.filter((name) => ran.has(name)) }
  }

  function install (generation: Generation, isNew: boolean): void {
    const { name, module, table, calls } = generation
    const feature = get(name)
    router = createRouter([...serving(new Set([name])), generation])
    messages.install(name, table, calls)
    gate.install(name, generation.paths, calls)
    messages.disable(name, module.types)
    hooks.install(name, generation.hooks)
    jobs.install(name, generation.jobs)
    Object.assign(feature, { state: 'enabled', module, generation })
    delete feature.error
    number.set({ feature: name }, generation.number)
    failing.set({ feature: name }, 0)
    if (isNew) {
      // What is listed, and closed, comes after what it depends on.
      known.delete(name)
      known.set(name, feature)
      hooks.emit('feature:enabled', name)
      sockets.broadcast('feature:enabled', { name })
    }
    hooks.emit('feature:loaded', name)
  }

  function withdraw (name: string): void {
    const feature = get(name)
    const ran = feature.generation !== undefined
    // Told first: it lets go of what it holds in the kernel by its own rules.
    if (ran) hooks.emit('feature:disabled', name)
    delete feature.generation
    delete feature.error
    feature.state = 'disabled'
    router = createRouter(serving())
    messages.install(name, undefined)
    gate.install(name, undefined)
    hooks.install(name, [])
    jobs.install(name, new Map())
    messages.disable(name, feature.module?.types ?? [])
    number.set({ feature: name }, 0)
    failing.set({ feature: name }, 0)
    if (ran) sockets.broadcast('feature:disabled', { name })
  }

  /** Lets what runs in a replaced generation end, then closes it. */
  async function retire (generation: Generation): Promise<void> {
    const { name, calls } = generation
    const deadline = setTimeout(() => {
      log.warn({ feature: name, calls: calls.running }, 'calls of the generation that was replaced are ended')
      calls.end(unavailable(`The feature ${name} was replaced meanwhile`))
    }, drainMs)
    await calls.idle()
    clearTimeout(deadline)
    await closeInTime(generation)
  }

  /** Closes a generation; one that does not end is left to itself, and holds up nobody. */
  async function closeInTime ({ name, app, kept }: Generation): Promise<void> {
    const closed = app.close().catch((err: unknown) => log.error({ err, feature: name }, 'failed to close the previous feature instance'))
    await withTimeout(closed, Math.max(drainMs, 1000), () => {
      log.error({ feature: name }, 'the onClose of a generation does not end: what it holds is not given back')
    })
    await kept.dispose(running(name)?.kept)
  }

  return {
    known,
    get router () {
      return router
    },
    get,
    running,
    dependencies,
    load,
    configOf (module, name, set) {
      const parsed = module.config.strict().safeParse({ ...app.config.FEATURES_CONFIG[name], ...set })
      if (!parsed.success) throw validationFailed(parsed.error.issues)
      return parsed.data
    },
    change,
    failed (name, error, wanted) {
      const feature = known.get(name)
      if (!feature) return
      const before = feature.error?.message
      feature.error = error instanceof Error ? error : new Error(String(error))
      if (!feature.generation) feature.state = wanted ? 'failed' : 'disabled'
      failing.set({ feature: name }, 1)
      if (!feature.generation) number.set({ feature: name }, 0)
      if (!feature.generation && feature.module) messages.disable(name, feature.module.types)
      // What is tried again and again is told of once.
      if (feature.error.message !== before) log.error({ err: error, feature: name, serving: feature.generation?.number }, 'a feature could not be loaded')
    },
    forget (name) {
      messages.disable(name, [])
      known.delete(name)
      number.remove({ feature: name })
      failing.remove({ feature: name })
    },
    async stop () {
      for (const name of inOrder(dependencies()).order.reverse()) {
        const generation = running(name)
        messages.install(name, undefined)
        gate.install(name, undefined)
        hooks.install(name, [])
        jobs.install(name, new Map())
        delete get(name).generation
        if (generation) await retire(generation)
      }
    }
  }
}
