import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import pLimit from 'p-limit'
import { FeatureDisabled, isCoded } from '../errors/codes.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { dependencyDisabled, featureInUse } from './errors.ts'
import { loadFailed } from './failure.ts'
import type { Changed, Generations } from './generations.ts'
import { dependentsOf, inOrder } from './graph.ts'
import { everyFeature, newest, nothingSet } from './settings.ts'
import type { FeatureSetting, FeatureSettings, SettingChange, SettingsStore } from './settings.ts'

export interface Rescan {
  added: string[]
  removed: string[]
  /** What could not be done, by name. */
  failed: Record<string, string>
}

/** Decides what runs, one change at a time; {@link Generations} makes it so. */
export interface Loader {
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
  generations: Generations
  /** @returns the features there are now */
  find: () => FoundFeature[]
  /** Whether a feature runs where no admin has said so. */
  isOn: (name: string) => boolean
  settings: SettingsStore
  /** Makes other servers look at the settings. */
  tell: () => void
}

/** Codes of what another change may put right: it is tried again. */
const mayPass = (error: unknown) => isCoded(error) && (error.code === 'DEPENDENCY_DISABLED' || error.code === 'FEATURE_IN_USE')

export function createLoader ({ log }: FastifyInstance, { generations, find, isOn, settings, tell }: LoaderOptions): Loader {
  const { known, get, running, load, configOf, change } = generations
  const inTurn = pLimit(1)
  // The settings of all servers as they were seen last.
  let latest: FeatureSettings = {}
  let rescanned = 0
  let stopped = false

  const settingOf = (name: string): FeatureSetting => latest[name] ?? nothingSet
  const isWanted = (name: string, all: FeatureSettings) => all[name]?.enabled ?? isOn(name)
  const wanted = (name: string) => isWanted(name, latest)
  const failed = (name: string, error: unknown) => generations.failed(name, error, wanted(name))

  /** @throws FEATURE_LOAD_FAILED where the settings there are do not fit the code */
  async function toLoad (name: string, module: FeatureModule) {
    try {
      return { name, module, config: configOf(module, name, settingOf(name).config) }
    } catch (error) {
      throw loadFailed(get(name).found, error)
    }
  }

  /** What those depend on that run, or should. */
  const dependencies = () => new Map([...known].flatMap(([name, { generation, module }]) => {
    const on = (generation?.module ?? module)?.dependencies
    return on && (generation || wanted(name)) ? [[name, on] as const] : []
  }))

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

  const follows = (name: string) => { get(name).applied = settingOf(name) }

  /** Changes the settings of all servers. */
  async function set (changes: Readonly<Record<string, SettingChange>>, check?: (all: FeatureSettings) => void): Promise<void> {
    const expected = new Map(Object.entries(changes).map(([name, change]) => [name, { ...change(settingOf(name)), revision: 0 }]))
    // Not in the place of what is known: the store may have lost that.
    latest = newest(latest, await settings.change(changes, check))
    for (const [name, setting] of expected) {
      // What somebody else has changed besides is still to be followed here.
      if (known.has(name) && isDeepStrictEqual({ ...settingOf(name), revision: 0 }, setting)) follows(name)
    }
    if (everyFeature in changes) rescanned = settingOf(everyFeature).revision
    tell()
  }

  const switching = (names: readonly string[], enabled: boolean) =>
    Object.fromEntries(names.map((name) => [name, (now: FeatureSetting) => ({ ...now, enabled })]))

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
      if (settingOf(name).enabled !== true) await set(switching([name], true))
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
      if (circular.length > 0) throw loadFailed(get(name).found, new Error(`The feature ${name} depends on itself`))
      return await change({
        load: await Promise.all(order.map((one) => toLoad(one, modules.get(one) as FeatureModule))),
        commit: () => set(switching(order, true), (all) => {
          // Another server may have turned it off in this moment.
          const off = order.flatMap((one) => (modules.get(one)?.dependencies ?? []).filter((other) => known.has(other) && !isWanted(other, all)))
          if (off.length > 0) throw dependencyDisabled(name, off)
        })
      })
    })
  }

  async function disable (name: string, cascade: boolean): Promise<Changed> {
    get(name)
    const dependents = dependentsOf(name, dependencies())
    if (dependents.length > 0 && !cascade) throw featureInUse(name, dependents)
    const names = [...dependents, name]
    if (!running(name) && settingOf(name).enabled === false) return await change({ unload: [name] })
    return await change({
      unload: names,
      commit: () => set(switching(names, false), (all) => {
        const left = [...known].filter(([other, { generation, module }]) => !names.includes(other) && isWanted(other, all) &&
          (generation?.module ?? module)?.dependencies.some((on) => names.includes(on)) === true).map(([other]) => other)
        if (left.length > 0) throw featureInUse(name, left)
      })
    })
  }

  async function reload (name: string): Promise<Changed> {
    if (get(name).state === 'disabled') throw new FeatureDisabled(name)
    return await asked(name, async () => {
      const module = await load(name)
      return await change({
        load: [await toLoad(name, module)],
        commit: () => set({ [name]: (now) => ({ ...now, reloads: (now.reloads ?? 0) + 1 }) })
      })
    })
  }

  async function configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed> {
    const feature = get(name)
    // As in a JSON Merge Patch (RFC 7396), null takes a setting back.
    const patched = (config: Readonly<Record<string, unknown>> = {}) => Object.fromEntries(Object.entries({ ...config, ...patch }).filter(([, value]) => value !== null))
    return await asked(name, async () => {
      const module = await load(name)
      const config = configOf(module, name, patched(settingOf(name).config))
      return await change({
        load: feature.generation || wanted(name) ? [{ name, module, config }] : [],
        commit: () => set({ [name]: (now) => ({ ...now, config: patched(now.config) }) }, (all) => { configOf(module, name, all[name]?.config) })
      })
    })
  }

  async function rescanHere (): Promise<Rescan> {
    const found = new Map(find().map((one) => [one.name, one]))
    const added = [...found.keys()].filter((name) => !known.has(name))
    const gone = [...known.keys()].filter((name) => !found.has(name))
    const moved = [...found].filter(([name, { entry }]) => known.has(name) && known.get(name)?.found.entry !== entry).map(([name]) => name)
    const result: Rescan = { added, removed: [], failed: {} }

    const running = generations.dependencies()
    for (const name of inOrder(running).order.reverse().concat(gone.filter((name) => !running.has(name)))) {
      if (!gone.includes(name)) continue
      const dependents = dependentsOf(name, generations.dependencies())
      if (dependents.length > 0) {
        failed(name, featureInUse(name, dependents))
        result.failed[name] = `Its folder is gone, but it is needed by ${dependents.join(', ')}`
        continue
      }
      await change({ unload: [name] })
      generations.forget(name)
      result.removed.push(name)
    }
    for (const name of added) known.set(name, { found: found.get(name) as FoundFeature, state: 'disabled', applied: nothingSet })
    for (const name of moved) get(name).found = found.get(name) as FoundFeature
    await startAll([...added, ...moved], true)
    for (const name of [...added, ...moved]) {
      const { error } = get(name)
      if (error) result.failed[name] = error.message
    }
    return result
  }

  /** Loads the code of features, and runs those that are wanted. */
  async function startAll (names: readonly string[], anew: boolean): Promise<void> {
    for (const name of names) follows(name)
    const modules = new Map<string, FeatureModule>()
    await each(names, async (name) => {
      const module = await load(name, anew)
      if (wanted(name)) modules.set(name, module)
      else await change({ unload: [name] })
    })
    await bringUp(modules)
  }

  /** Builds features anew, each after those it depends on. */
  async function bringUp (modules: ReadonlyMap<string, FeatureModule>): Promise<void> {
    const { order, circular } = inOrder(new Map([...modules].map(([name, { dependencies }]) => [name, dependencies])))
    await each(circular, async (name) => { throw loadFailed(get(name).found, new Error(`The feature ${name} depends on itself`)) })
    await each(order, async (name) => change({ load: [await toLoad(name, modules.get(name) as FeatureModule)] }))
  }

  async function reconcile (): Promise<void> {
    if (stopped) return
    const before = latest
    latest = await settings.read()
    // The store has lost what this server knows.
    if (Object.entries(before).some(([name, { revision }]) => revision > settingOf(name).revision)) latest = await settings.restore(before)
    const rescan = settingOf(everyFeature).revision
    if (rescan !== rescanned) {
      await rescanHere()
      rescanned = rescan
    }
    const changed = [...known.keys()].filter((name) => settingOf(name).revision !== get(name).applied.revision)
    const off = changed.filter((name) => !wanted(name))
    const stale = changed.filter((name) => wanted(name) && isStale(name))
    for (const name of changed) if (!off.includes(name) && !stale.includes(name)) follows(name)

    const order = inOrder(generations.dependencies()).order.reverse()
    for (const name of [...order.filter((name) => off.includes(name)), ...off.filter((name) => !order.includes(name))]) {
      await followed(name, async () => {
        const dependents = dependentsOf(name, generations.dependencies())
        if (dependents.length > 0) throw featureInUse(name, dependents)
        await change({ unload: [name] })
      })
    }
    const modules = new Map<string, FeatureModule>()
    for (const name of stale) await followed(name, async () => { modules.set(name, await load(name)) })
    const { order: loadOrder, circular } = inOrder(new Map([...modules].map(([name, { dependencies }]) => [name, dependencies])))
    for (const name of [...loadOrder, ...circular]) await followed(name, async () => change({ load: [await toLoad(name, modules.get(name) as FeatureModule)] }))
  }

  /** Whether a feature that is to run has to be built for what was set of it. */
  function isStale (name: string): boolean {
    const { applied } = get(name)
    const { config = {}, reloads = 0 } = settingOf(name)
    return !running(name) || reloads !== (applied.reloads ?? 0) || !isDeepStrictEqual(config, applied.config ?? {})
  }

  /** Follows what was set of a feature. What fails is not tried again until it is set anew, unless something else may put it right. */
  async function followed (name: string, step: () => Promise<unknown>): Promise<void> {
    try {
      await step()
      if (running(name) || !wanted(name)) follows(name)
    } catch (error) {
      failed(name, error)
      if (!mayPass(error)) follows(name)
    }
  }

  return {
    start: () => inTurn(async () => {
      latest = await settings.read()
      rescanned = settingOf(everyFeature).revision
      for (const found of find()) known.set(found.name, { found, state: 'disabled', applied: nothingSet })
      await startAll([...known.keys()], false)
    }),
    enable: (name, cascade) => inTurn(() => enable(name, cascade)),
    disable: (name, cascade) => inTurn(() => disable(name, cascade)),
    reload: (name) => inTurn(() => reload(name)),
    configure: (name, patch) => inTurn(() => configure(name, patch)),
    rescan: () => inTurn(async () => {
      latest = await settings.read()
      const result = await rescanHere()
      await set({ [everyFeature]: (now) => now })
      return result
    }),
    reconcile: () => inTurn(reconcile),
    touched: (names) => inTurn(async () => {
      const old = names.filter((name) => known.has(name))
      if (old.length < names.length || find().length !== known.size) await rescanHere()
      await each(old.filter((name) => known.has(name) && wanted(name)), async (name) => {
        const { enabled } = await change({ load: [await toLoad(name, await load(name))] })
        log.info({ feature: name, generation: running(name)?.number, isNew: enabled.length > 0 }, 'a feature was reloaded')
      })
    }),
    stop: () => {
      stopped = true
      return inTurn(() => generations.stop())
    }
  }
}
