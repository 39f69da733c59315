import type { FastifyInstance } from 'fastify'
import pLimit from 'p-limit'
import { FeatureDisabled, isCoded, unavailable, validationFailed } from '../errors/codes.ts'
import { importFeature } from './discovery.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { dependencyDisabled, featureInUse, FeatureNotFound } from './errors.ts'
import { loadFailed } from './failure.ts'
import { buildGeneration } from './generation.ts'
import type { Generation } from './generation.ts'
import { dependentsOf, inOrder } from './graph.ts'
import { createRouter } from './router.ts'
import type { FeatureRouter } from './router.ts'
import { everyFeature } from './settings.ts'
import type { FeatureSetting, FeatureSettings, SettingsStore } from './settings.ts'

export type FeatureState = 'enabled' | 'disabled' | 'failed'

/** One feature on this server. */
export interface Known {
  found: FoundFeature
  /** `failed`: it should run and does not. */
  state: FeatureState
  /** Times its code was loaded; the number of a generation is that of its code. */
  imports: number
  module?: FeatureModule
  generation?: Generation
  /** Why it does not run, or why it runs as it did before the last change. */
  error?: Error
  setting: FeatureSetting
}

/** What a change has come to: names, each in the order in which it happened. */
export interface Changed {
  enabled: string[]
  disabled: string[]
}

export interface Rescan {
  added: string[]
  removed: string[]
  /** What could not be done, by name. */
  failed: Record<string, string>
}

/** Makes features run, one change at a time. */
export interface Loader {
  readonly known: ReadonlyMap<string, Known>
  readonly router: FeatureRouter
  start (): Promise<void>
  enable (name: string, cascade: boolean): Promise<Changed>
  disable (name: string, cascade: boolean): Promise<Changed>
  reload (name: string): Promise<Changed>
  configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed>
  rescan (): Promise<Rescan>
  /** Brings this server to what the settings of all servers say. */
  reconcile (): Promise<void>
  /** The files of these features have changed, here. */
  touched (names: readonly string[]): Promise<void>
  stop (): Promise<void>
}

export interface LoaderOptions {
  /** @returns the features there are now */
  find: () => FoundFeature[]
  /** Whether a feature runs where no admin has said so. */
  isOn: (name: string) => boolean
  settings: SettingsStore
  /** Makes other servers look at the settings. */
  tell: () => void
}

/** Each loaded generation of code stays in memory, some 70 KB: from here on a restart is advised. */
const manyImports = 300

export function createLoader (app: FastifyInstance, { find, isOn, settings, tell }: LoaderOptions): Loader {
  const { agenda, hooks, log, messages, metrics, sockets } = app
  const known = new Map<string, Known>()
  const inTurn = pLimit(1)
  let router = createRouter([])
  let rescanned = 0
  let imports = 0

  const number = metrics.gauge('flylive_feature_generation', 'Generation of each feature that runs; 0 when it does not', ['feature'])
  const failing = metrics.gauge('flylive_feature_failed', 'Whether the last change of a feature could not be made on this server: 1 or 0', ['feature'])
  const loads = metrics.counter('flylive_feature_loads_total', 'Generations of features that were built, by result (ok or failed)', ['feature', 'result'])
  const loadTime = metrics.histogram('flylive_feature_load_seconds', 'Time from the begin of a change to its being in force', ['feature'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])

  const generations = (except?: ReadonlySet<string>) => [...known].flatMap(([name, { generation }]) => generation && except?.has(name) !== true ? [generation] : [])
  const running = (name: string) => known.get(name)?.generation
  const wanted = (name: string) => known.get(name)?.setting.enabled ?? isOn(name)
  /** What those that run, or would, depend on. */
  const dependencies = () => new Map([...known].flatMap(([name, { generation, module }]) => {
    const on = (generation?.module ?? module)?.dependencies
    return on ? [[name, on] as const] : []
  }))
  const runningDependencies = () => new Map(generations().map((generation) => [generation.name, generation.module.dependencies] as const))

  function get (name: string): Known {
    const feature = known.get(name)
    if (!feature) throw new FeatureNotFound(name)
    return feature
  }

  async function load (name: string): Promise<FeatureModule> {
    const feature = get(name)
    if (++imports % manyImports === 0) log.warn({ imports }, 'the code of each generation stays in memory: restart the server when it suits you')
    try {
      const module = await importFeature(feature.found, ++feature.imports)
      if (!feature.generation) feature.module = module
      return module
    } catch (error) {
      throw await loadFailed(feature.found, error)
    }
  }

  /** @throws VALIDATION_FAILED */
  function configOf (module: FeatureModule, name: string, set: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const parsed = module.config.strict().safeParse({ ...app.config.FEATURES_CONFIG[name], ...set })
    if (!parsed.success) throw validationFailed(parsed.error.issues)
    return parsed.data
  }

  /** Builds a feature's next generation; nothing of it is in force. */
  async function prepare (name: string, module: FeatureModule, config: Record<string, unknown> | undefined, pending: ReadonlyMap<string, Generation>): Promise<Generation> {
    const feature = get(name)
    const there = (other: string) => pending.get(other) ?? running(other)
    const off = module.dependencies.filter((other) => known.has(other) && !there(other))
    if (off.length > 0) throw dependencyDisabled(name, off)
    // Forgotten when it is built: a generation must not hold on to others of its time.
    let others = generations(new Set([name, ...pending.keys()])).concat([...pending.values()])
    let probe = createRouter(others)
    try {
      const generation = await buildGeneration(app, {
        name,
        number: feature.imports,
        module,
        config: config ?? configOf(module, name, feature.setting.config ?? {}),
        slot: (other) => there(other)?.app as unknown as Record<string, unknown> | undefined,
        provided: (other) => there(other)?.provides,
        claimMessage (type) {
          const owner = messages.ownerOf(type) ?? others.find(({ table }) => table.routes.some((route) => route.type === type))?.name
          if (owner !== undefined && owner !== name) throw new Error(`The message type ${type} belongs to ${owner}`)
        },
        claimRoute (method, url) {
          const owner = app.hasRoute({ method: method as 'GET', url }) ? 'the server itself' : others.find(({ routes }) => routes.some((route) => route.method === method && route.url === url))?.name
          if (owner !== undefined) throw new Error(`The route ${method} ${url} belongs to ${owner}`)
          probe.add(method, url, undefined)
        }
      })
      const missing = generations().filter(({ module }) => module.dependencies.includes(name))
        .flatMap((dependent) => dependent.module.decorators.filter((decorator) => running(name)?.provides.includes(decorator) === true && !generation.provides.includes(decorator)).map((decorator) => `${dependent.name} needs app.${decorator}`))
      if (missing.length > 0) {
        await generation.app.close()
        throw new Error(missing.join(', '))
      }
      loads.inc({ feature: name, result: 'ok' })
      return generation
    } catch (error) {
      loads.inc({ feature: name, result: 'failed' })
      throw await loadFailed(feature.found, error)
    } finally {
      others = []
      probe = createRouter([])
    }
  }

  interface Change {
    /** To be built anew, each after those it depends on. */
    load?: readonly { name: string, module: FeatureModule, config?: Record<string, unknown> }[]
    /** To be taken out of service, each before those it depends on. */
    unload?: readonly string[]
    /** What must succeed for all this to be in force. */
    commit?: () => Promise<void>
  }

  /**
   * Puts new generations in the place of what ran, and takes others out of
   * service, all in one turn of the event loop; then waits for the calls of
   * what ran before. A failure before that leaves everything as it was.
   */
  async function change ({ load = [], unload = [], commit }: Change): Promise<Changed> {
    const begin = performance.now()
    const pending = new Map<string, Generation>()
    try {
      for (const { name, module, config } of load) pending.set(name, await prepare(name, module, config, pending))
      await commit?.()
    } catch (error) {
      for (const { app } of [...pending.values()].reverse()) await app.close().catch((err: unknown) => log.warn({ err }, 'what was built in vain does not close'))
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
    router = createRouter([...generations(new Set([name])), generation])
    messages.install(name, table, calls)
    messages.disable(name, module.types)
    hooks.install(name, generation.hooks)
    agenda.install(name, generation.jobs)
    Object.assign(feature, { state: 'enabled', module, generation })
    delete feature.error
    number.set({ feature: name }, generation.number)
    failing.set({ feature: name }, 0)
    if (!isNew) return
    // What is listed, and closed, comes after what it depends on.
    known.delete(name)
    known.set(name, feature)
    hooks.emit('feature:enabled', name)
    sockets.broadcast('feature:enabled', { name })
  }

  function withdraw (name: string): void {
    const feature = get(name)
    // Told first: it lets go of what it holds in the kernel by its own rules.
    if (feature.generation) hooks.emit('feature:disabled', name)
    delete feature.generation
    delete feature.error
    feature.state = 'disabled'
    router = createRouter(generations())
    messages.install(name, undefined)
    hooks.install(name, [])
    agenda.install(name, new Map())
    messages.disable(name, feature.module?.types ?? [])
    number.set({ feature: name }, 0)
    failing.set({ feature: name }, 0)
    sockets.broadcast('feature:disabled', { name })
  }

  /** Lets what runs in a replaced generation end, then closes it. */
  async function retire ({ name, app, calls }: Generation): Promise<void> {
    const deadline = setTimeout(() => {
      log.warn({ feature: name, calls: calls.running }, 'calls of the generation that was replaced are ended')
      calls.end(unavailable(`The feature ${name} was replaced meanwhile`))
    }, app.config.FEATURES_DRAIN_SECONDS * 1000)
    await calls.idle()
    clearTimeout(deadline)
    await app.close().catch((err: unknown) => log.error({ err, feature: name }, 'a replaced generation does not close'))
  }

  /** Notes why a change could not be made: what ran before goes on. */
  function failed (name: string, error: unknown): void {
    const feature = known.get(name)
    if (!feature) return
    feature.error = error instanceof Error ? error : new Error(String(error))
    if (!feature.generation) feature.state = wanted(name) ? 'failed' : 'disabled'
    failing.set({ feature: name }, 1)
    if (!feature.generation && feature.module) messages.disable(name, feature.module.types)
    log.error({ err: error, feature: name, serving: feature.generation?.number }, 'a feature could not be loaded')
  }

  /** Does something for each, in order; one that fails holds up no other. */
  async function each (names: readonly string[], step: (name: string) => Promise<unknown>): Promise<void> {
    for (const name of names) {
      try {
        await step(name)
      } catch (error) {
        failed(name, error)
      }
    }
  }

  function apply (all: FeatureSettings): void {
    for (const [name, feature] of known) feature.setting = all[name] ?? { revision: 0 }
  }

  /** Changes the settings of all servers. */
  async function set (changes: Readonly<Record<string, Omit<FeatureSetting, 'revision'>>>): Promise<void> {
    const all = await settings.change(changes)
    // Only those that are changed here: what others have changed meanwhile is still to be done.
    for (const name of Object.keys(changes)) {
      const feature = known.get(name)
      const setting = all[name]
      if (feature && setting) feature.setting = setting
    }
    if (everyFeature in changes) rescanned = all[everyFeature]?.revision ?? rescanned
    tell()
  }

  const switched = (names: readonly string[], enabled: boolean) => Object.fromEntries(names.map((name) => [name, { ...keptConfig(name), enabled }]))
  function keptConfig (name: string): Omit<FeatureSetting, 'revision'> {
    const { revision, ...kept } = get(name).setting
    return kept
  }

  /** Runs a change an admin asked for: it succeeds, or is noted with the feature. */
  async function asked (name: string, make: () => Promise<Changed>): Promise<Changed> {
    try {
      return await make()
    } catch (error) {
      if (isCoded(error) && error.code === 'FEATURE_LOAD_FAILED') failed(name, error)
      throw error
    }
  }

  async function enable (name: string, cascade: boolean): Promise<Changed> {
    get(name)
    if (running(name)) {
      await set(switched([name], true))
      return { enabled: [], disabled: [] }
    }
    return await asked(name, async () => {
      const modules = new Map<string, FeatureModule>()
      const visit = async (one: string): Promise<void> => {
        if (modules.has(one) || running(one) || !known.has(one)) return
        const module = await load(one)
        modules.set(one, module)
        for (const other of module.dependencies) await visit(other)
      }
      await visit(name)
      const needed = [...modules.keys()].filter((one) => one !== name)
      if (needed.length > 0 && !cascade) throw dependencyDisabled(name, needed)
      const { order, circular } = inOrder(new Map([...modules].map(([one, { dependencies }]) => [one, dependencies])))
      if (circular.length > 0) throw await loadFailed(get(name).found, new Error(`The feature ${name} depends on itself`))
      return await change({
        load: order.map((one) => ({ name: one, module: modules.get(one) as FeatureModule })),
        commit: () => set(switched(order, true))
      })
    })
  }

  async function disable (name: string, cascade: boolean): Promise<Changed> {
    get(name)
    const dependents = dependentsOf(name, runningDependencies())
    if (dependents.length > 0 && !cascade) throw featureInUse(name, dependents)
    const names = [...dependents, name]
    return await change({ unload: names, commit: () => set(switched(names, false)) })
  }

  async function reload (name: string): Promise<Changed> {
    if (get(name).state === 'disabled') throw new FeatureDisabled(name)
    return await asked(name, async () => {
      const module = await load(name)
      return await change({ load: [{ name, module }], commit: () => set({ [name]: keptConfig(name) }) })
    })
  }

  async function configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed> {
    const feature = get(name)
    return await asked(name, async () => {
      const module = await load(name)
      // As in a JSON Merge Patch (RFC 7396), null takes a setting back.
      const next = Object.fromEntries(Object.entries({ ...feature.setting.config, ...patch }).filter(([, value]) => value !== null))
      const config = configOf(module, name, next)
      const load_ = feature.generation ? [{ name, module, config }] : []
      return await change({ load: load_, commit: () => set({ [name]: { ...keptConfig(name), config: next } }) })
    })
  }

  async function rescanHere (): Promise<Rescan> {
    const found = new Map(find().map((one) => [one.name, one]))
    const all = await settings.read()
    const added = [...found.keys()].filter((name) => !known.has(name))
    const gone = [...known.keys()].filter((name) => !found.has(name))
    const moved = [...found].filter(([name, { entry }]) => known.has(name) && known.get(name)?.found.entry !== entry).map(([name]) => name)
    const result: Rescan = { added, removed: [], failed: {} }

    const running = runningDependencies()
    for (const name of inOrder(running).order.reverse().concat(gone.filter((name) => !running.has(name)))) {
      if (!gone.includes(name)) continue
      const dependents = dependentsOf(name, runningDependencies())
      if (dependents.length > 0) {
        failed(name, featureInUse(name, dependents))
        result.failed[name] = `Its folder is gone, but it is needed by ${dependents.join(', ')}`
        continue
      }
      await change({ unload: [name] })
      messages.disable(name, [])
      known.delete(name)
      result.removed.push(name)
    }
    for (const name of added) known.set(name, { found: found.get(name) as FoundFeature, state: 'disabled', imports: 0, setting: all[name] ?? { revision: 0 } })
    for (const name of moved) get(name).found = found.get(name) as FoundFeature
    await startAll([...added, ...moved])
    for (const name of [...added, ...moved]) {
      const { error } = get(name)
      if (error) result.failed[name] = error.message
    }
    return result
  }

  /** Loads the code of features, and runs those that are wanted. */
  async function startAll (names: readonly string[]): Promise<void> {
    const modules = new Map<string, FeatureModule>()
    await each(names, async (name) => {
      number.set({ feature: name }, 0)
      failing.set({ feature: name }, 0)
      const module = await load(name)
      if (wanted(name)) modules.set(name, module)
      else messages.disable(name, module.types)
    })
    const { order, circular } = inOrder(new Map([...modules].map(([name, { dependencies }]) => [name, dependencies])))
    await each(circular, async (name) => { throw await loadFailed(get(name).found, new Error(`The feature ${name} depends on itself`)) })
    await each(order, (name) => change({ load: [{ name, module: modules.get(name) as FeatureModule }] }))
  }

  async function reconcile (): Promise<void> {
    const all = await settings.read()
    const rescan = all[everyFeature]?.revision ?? 0
    if (rescan !== rescanned) {
      rescanned = rescan
      await rescanHere()
    }
    const changed = [...known].filter(([name, { setting }]) => (all[name]?.revision ?? 0) !== setting.revision).map(([name]) => name)
    apply(all)
    const { order } = inOrder(dependencies())
    const inTheirOrder = [...order, ...changed.filter((name) => !order.includes(name))].filter((name) => changed.includes(name))
    await each(inTheirOrder.toReversed().filter((name) => !wanted(name)), async (name) => {
      const dependents = dependentsOf(name, runningDependencies())
      if (dependents.length > 0) throw featureInUse(name, dependents)
      await change({ unload: [name] })
    })
    await each(inTheirOrder.filter(wanted), async (name) => change({ load: [{ name, module: await load(name) }] }))
  }

  return {
    known,
    get router () {
      return router
    },
    start: () => inTurn(async () => {
      const all = await settings.read()
      rescanned = all[everyFeature]?.revision ?? 0
      for (const found of find()) known.set(found.name, { found, state: 'disabled', imports: 0, setting: { revision: 0 } })
      apply(all)
      await startAll([...known.keys()])
    }),
    enable: (name, cascade) => inTurn(() => enable(name, cascade)),
    disable: (name, cascade) => inTurn(() => disable(name, cascade)),
    reload: (name) => inTurn(() => reload(name)),
    configure: (name, patch) => inTurn(() => configure(name, patch)),
    rescan: () => inTurn(async () => {
      const result = await rescanHere()
      await set({ [everyFeature]: {} })
      return result
    }),
    reconcile: () => inTurn(reconcile),
    touched: (names) => inTurn(async () => {
      const old = names.filter((name) => known.has(name))
      if (old.length < names.length || find().length !== known.size) await rescanHere()
      await each(old.filter((name) => known.has(name) && wanted(name)), async (name) => {
        const { enabled } = await change({ load: [{ name, module: await load(name) }] })
        log.info({ feature: name, generation: running(name)?.number, isNew: enabled.length > 0 }, 'a feature was reloaded')
      })
    }),
    stop: () => inTurn(async () => {
      for (const name of inOrder(runningDependencies()).order.reverse()) {
        const generation = running(name)
        messages.install(name, undefined)
        hooks.install(name, [])
        agenda.install(name, new Map())
        if (generation) await retire(generation)
      }
    })
  }
}
