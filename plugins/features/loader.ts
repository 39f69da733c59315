import type { FastifyBaseLogger } from 'fastify'
import pLimit from 'p-limit'
import { FeatureDisabled, isCoded } from '../errors/codes.ts'
import { withoutMasks } from '../schema/variables.ts'
import type { Change, Changed, Executor, Prepared } from './apply.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { dependencyDisabled, featureInUse, loadFailed, mayPass } from './errors.ts'
import { createFollower } from './follower.ts'
import type { Rescan } from './follower.ts'
import { dependentsOf, plan } from './plan.ts'
import type { FeatureTarget, Plan, Refusal } from './plan.ts'
import type { Registry } from './registry.ts'
import { switchAll } from './settings.ts'
import type { DesiredState, FeatureSettings } from './settings.ts'

/**
 * The changes that an admin can make. Each change is atomic: either this server applies the change and writes it to the
 * cluster-wide settings, or nothing changes.
 */
export interface Commands {
  enable (name: string, cascade?: boolean): Promise<Changed>
  disable (name: string, cascade?: boolean): Promise<Changed>
  reload (name: string): Promise<Changed>
  configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed>
}

/** Changes the set of running features, one change at a time. */
export interface Loader extends Commands {
  /**
   * Starts the features.
   *
   * @param subscribed resolves once this server is subscribed to changes of the settings. The features start only after
   *   that, so that this server does not miss a change
   */
  start (subscribed: Promise<void>): Promise<void>
  rescan (): Promise<Rescan>
  /** Applies the cluster-wide settings to this server. */
  reconcile (): Promise<void>
  /** Reloads features whose files have changed on this server. */
  touched (names: readonly string[]): Promise<void>
  /** Replaces a generation on this server. Does nothing if that generation is no longer running. */
  restart (name: string, generation: number): Promise<void>
  /**
   * Takes a feature and its dependents out of service on this server, until they are reloaded. The change is not stored.
   * `auth` stays in service, but no longer identifies users.
   */
  takeOut (name: string, reason: Error): Promise<void>
  /** True while a feature's generation is being replaced after a fault. */
  isRestarting (name: string): boolean
  stop (): Promise<void>
}

export interface LoaderOptions {
  registry: Registry
  executor: Executor
  desired: DesiredState
  find: () => FoundFeature[]
  log: FastifyBaseLogger
}

/** Plans and applies feature changes on this server. */
export interface Transitions {
  /** @throws FEATURE_LOAD_FAILED if the feature's schema rejects the settings */
  prepare (name: string, module: FeatureModule): Prepared
  /**
   * Applies a change atomically.
   *
   * @throws FEATURE_IN_USE, DEPENDENCY_DISABLED, FEATURE_LOAD_FAILED, and any error that `commit` throws
   */
  make (change: Change): Promise<Changed>
  /**
   * Applies a change to each feature separately. If a feature cannot be changed, the failure is recorded, and the other
   * features are still changed.
   *
   * @returns the plan
   */
  makeEach (change: Pick<Change, 'load' | 'unload'>): Promise<Plan>
  /** Runs a step for a feature. If the step throws, the error is recorded in the registry. */
  attempt (name: string, step: () => Promise<unknown>): Promise<void>
  /**
   * Marks a feature's current settings as handled: this server has applied the settings, or will not try to apply them
   * again.
   */
  follow (name: string): void
}

export function createLoader (options: LoaderOptions): Loader {
  const { registry, executor, desired, log } = options
  const transitions = createTransitions(registry, executor, desired)
  const commands = createCommands(registry, desired, transitions)
  const follower = createFollower(options, transitions)
  const inTurn = pLimit(1)
  let stopped = false
  /** The generations that are waiting for a restart. */
  const restarts = new Set<string>()

  /**
   * Carries out an admin's change. Then starts the features that could not run before the change; the admin's call does
   * not wait for these features.
   */
  async function change (command: () => Promise<Changed>): Promise<Changed> {
    const changed = await inTurn(command)
    inTurn(async () => { if (!stopped) await follower.loadHeld() }).catch((err: unknown) => log.error({ err }, 'failed to load the dependents of a changed feature'))
    return changed
  }

  return {
    enable: (name, cascade) => change(() => commands.enable(name, cascade)),
    disable: (name, cascade) => change(() => commands.disable(name, cascade)),
    reload: (name) => change(() => commands.reload(name)),
    configure: (name, patch) => change(() => commands.configure(name, patch)),
    start: (subscribed) => inTurn(async () => {
      await subscribed
      await follower.start()
    }),
    rescan: () => inTurn(follower.rescan),
    reconcile: () => inTurn(async () => { if (!stopped) await follower.reconcile() }),
    touched: (names) => inTurn(() => follower.touched(names)),
    async restart (name, generation) {
      const key = `${name} ${generation}`
      if (restarts.has(key)) return
      restarts.add(key)
      await inTurn(async () => {
        restarts.delete(key)
        if (!stopped) await follower.restart(name, generation)
      })
    },
    takeOut: (name, reason) => inTurn(async () => { if (!stopped) await follower.takeOut(name, reason) }),
    isRestarting: follower.isRestarting,
    stop () {
      stopped = true
      return inTurn(executor.stop)
    }
  }
}

function createCommands (registry: Registry, desired: DesiredState, { prepare, make, follow }: Transitions): Commands {
  const { known, get, running, importCode, configOf } = registry
  const { settingOf, isWanted, versionOf } = desired

  const set = async (...args: Parameters<DesiredState['set']>): Promise<void> => {
    for (const name of await desired.set(...args)) follow(name)
  }

  /** Runs a change. If the change fails with FEATURE_LOAD_FAILED, the error is recorded in the registry. */
  async function asked (name: string, change: () => Promise<Changed>): Promise<Changed> {
    try {
      return await change()
    } catch (error) {
      if (isCoded(error) && error.code === 'FEATURE_LOAD_FAILED') registry.failed(name, error, isWanted(name))
      throw error
    }
  }

  /**
   * Imports the code of a feature and of its direct and indirect dependencies, except features that are already
   * running.
   */
  async function importNeeded (name: string, modules = new Map<string, FeatureModule>()): Promise<Map<string, FeatureModule>> {
    if (modules.has(name) || running(name) || !known.has(name)) return modules
    const module = await importCode(name)
    modules.set(name, module)
    for (const other of module.dependencies) await importNeeded(other, modules)
    return modules
  }

  /** The dependencies of every feature that is running or enabled, by feature name. */
  const dependencies = () => new Map([...known].flatMap(([name, { generation, module }]) => {
    const on = (generation?.module ?? module)?.dependencies
    return on && (generation || isWanted(name)) ? [[name, on] as const] : []
  }))

  /** Rejects settings in which a dependency is off, because another server may have disabled it in the meantime. */
  const onlyIfWanted = (name: string, modules: readonly FeatureModule[]) => (all: FeatureSettings) => {
    const off = modules.flatMap(({ dependencies }) => dependencies.filter((other) => known.has(other) && !isWanted(other, all)))
    if (off.length > 0) throw dependencyDisabled(name, off)
  }

  return {
    async enable (name, cascade = false) {
      get(name)
      const generation = running(name)
      if (generation) {
        // Write the setting even if it seems unchanged, because another server may have disabled the feature in the
        // meantime.
        await set(switchAll([name], true), onlyIfWanted(name, [generation.module]))
        return { enabled: [], disabled: [] }
      }
      return await asked(name, async () => {
        const modules = await importNeeded(name)
        const names = [...modules.keys()]
        const needed = names.filter((other) => other !== name)
        if (needed.length > 0 && !cascade) throw dependencyDisabled(name, needed)
        return await make({
          load: [...modules].map(([one, module]) => prepare(one, module)),
          commit: () => set(switchAll(names, true), onlyIfWanted(name, [...modules.values()]))
        })
      })
    },

    async disable (name, cascade = false) {
      get(name)
      const dependents = dependentsOf(name, dependencies())
      if (dependents.length > 0 && !cascade) throw featureInUse(name, dependents)
      const names = [...dependents, name]
      return await make({
        unload: names,
        commit: () => set(switchAll(names, false), (all) => {
          // Another server may have enabled a dependent in the meantime.
          const left = [...known].filter(([other, { generation, module }]) => !names.includes(other) && isWanted(other, all) &&
            (generation?.module ?? module)?.dependencies.some((on) => names.includes(on)) === true).map(([other]) => other)
          if (left.length > 0) throw featureInUse(name, left)
        })
      })
    },

    async reload (name) {
      if (get(name).state === 'disabled') throw new FeatureDisabled(name)
      return await asked(name, async () => {
        const reloads = (settingOf(name).reloads ?? 0) + 1
        return await make({
          load: [{ ...prepare(name, await importCode(name)), version: versionOf(name, { reloads }) }],
          commit: () => set({ [name]: (now) => ({ ...now, reloads: (now.reloads ?? 0) + 1 }) })
        })
      })
    },

    async configure (name, patch) {
      const feature = get(name)
      return await asked(name, async () => {
        const module = await importCode(name)
        const change = withoutMasks(module.config, patch)
        // As in a JSON Merge Patch (RFC 7396), null removes a setting.
        const patched = (config: Readonly<Record<string, unknown>> = {}) => Object.fromEntries(Object.entries({ ...config, ...change }).filter(([, value]) => value !== null))
        const settings = patched(settingOf(name).config)
        const config = configOf(module, name, settings)
        return await make({
          load: feature.generation || isWanted(name) ? [{ name, module, config, version: versionOf(name, { config: settings }) }] : [],
          commit: () => set({ [name]: (now) => ({ ...now, config: patched(now.config) }) }, (all) => { configOf(module, name, all[name]?.config) })
        })
      })
    }
  }
}

function createTransitions (registry: Registry, executor: Executor, desired: DesiredState): Transitions {
  const { get, targets } = registry

  function planFor ({ load = [], unload = [] }: Pick<Change, 'load' | 'unload'>): Plan {
    const now = targets()
    const next = new Map<string, FeatureTarget>(now)
    for (const name of unload) next.delete(name)
    // Prepared features are always built, because their code may have changed.
    for (const { name, module: { dependencies } } of load) next.set(name, { dependencies, version: Symbol(name) })
    const { load: order, unload: off, refused } = plan(now, next, (name) => registry.known.has(name))
    return { load: order, unload: [...off, ...unload.filter((name) => !now.has(name))], refused }
  }

  function errorOf (name: string, refusal: Refusal): Error {
    switch (refusal.because) {
      case 'in use': return featureInUse(name, refusal.dependents)
      case 'dependency': return dependencyDisabled(name, refusal.dependencies)
      case 'circular': return loadFailed(get(name).found, new Error(`The feature ${name} depends on itself`))
    }
  }

  function fail (name: string, error: unknown): void {
    registry.failed(name, error, desired.isWanted(name))
    if (!mayPass(error)) transitions.follow(name)
  }

  const makeOne = (name: string, change: Change) => transitions.attempt(name, async () => {
    await transitions.make(change)
    transitions.follow(name)
  })

  const transitions: Transitions = {
    prepare (name, module) {
      try {
        return { name, module, config: registry.configOf(module, name, desired.settingOf(name).config), version: desired.versionOf(name) }
      } catch (error) {
        throw loadFailed(get(name).found, error)
      }
    },
    async make ({ load = [], unload = [], commit, changed }) {
      const { load: order, unload: off, refused } = planFor({ load, unload })
      const [refusal] = refused
      if (refusal) throw errorOf(...refusal)
      return await executor.apply({ load: order.flatMap((name) => load.find((one) => one.name === name) ?? []), unload: off, commit, changed })
    },
    async makeEach ({ load = [], unload = [] }) {
      const steps = planFor({ load, unload })
      for (const [name, refusal] of steps.refused) fail(name, errorOf(name, refusal))
      for (const name of steps.unload) await makeOne(name, { unload: [name] })
      for (const name of steps.load) await makeOne(name, { load: load.filter((one) => one.name === name) })
      return steps
    },
    async attempt (name, step) {
      try {
        await step()
      } catch (error) {
        fail(name, error)
      }
    },
    follow (name) {
      const feature = registry.known.get(name)
      if (feature) feature.applied = desired.settingOf(name)
    }
  }
  return transitions
}
