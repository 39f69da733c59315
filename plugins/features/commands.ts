import { FeatureDisabled, isCoded } from '../errors/codes.ts'
import type { Changed } from './apply.ts'
import type { DesiredState } from './desired.ts'
import { switchAll } from './desired.ts'
import type { FeatureModule } from './discovery.ts'
import { dependencyDisabled, featureInUse } from './errors.ts'
import { dependentsOf } from './plan.ts'
import type { Registry } from './registry.ts'
import type { Transitions } from './transitions.ts'
import { withoutMasks } from './variables.ts'

/**
 * Changes by an admin. Each is atomic: it is applied on this server
 * and written to the settings of all servers, or it fails and changes nothing.
 */
export interface Commands {
  enable (name: string, cascade: boolean): Promise<Changed>
  disable (name: string, cascade: boolean): Promise<Changed>
  reload (name: string): Promise<Changed>
  configure (name: string, patch: Readonly<Record<string, unknown>>): Promise<Changed>
}

export function createCommands (registry: Registry, desired: DesiredState, { prepare, make, follow }: Transitions): Commands {
  const { known, get, running, importCode, configOf } = registry
  const { settingOf, isWanted, versionOf } = desired

  const set = async (...args: Parameters<DesiredState['set']>): Promise<void> => {
    for (const name of await desired.set(...args)) follow(name)
  }

  /** Runs a change; a failure to load is recorded with the feature. */
  async function asked (name: string, change: () => Promise<Changed>): Promise<Changed> {
    try {
      return await change()
    } catch (error) {
      if (isCoded(error) && error.code === 'FEATURE_LOAD_FAILED') registry.failed(name, error, isWanted(name))
      throw error
    }
  }

  /** Imports the code of a feature and of its dependencies that are not running. */
  async function importNeeded (name: string, modules = new Map<string, FeatureModule>()): Promise<Map<string, FeatureModule>> {
    if (modules.has(name) || running(name) || !known.has(name)) return modules
    const module = await importCode(name)
    modules.set(name, module)
    for (const other of module.dependencies) await importNeeded(other, modules)
    return modules
  }

  /** Dependencies of the features that are running or enabled. */
  const dependencies = () => new Map([...known].flatMap(([name, { generation, module }]) => {
    const on = (generation?.module ?? module)?.dependencies
    return on && (generation || isWanted(name)) ? [[name, on] as const] : []
  }))

  return {
    async enable (name, cascade) {
      get(name)
      if (running(name)) {
        if (settingOf(name).enabled !== true) await set(switchAll([name], true))
        return { enabled: [], disabled: [] }
      }
      return await asked(name, async () => {
        const modules = await importNeeded(name)
        const names = [...modules.keys()]
        const needed = names.filter((other) => other !== name)
        if (needed.length > 0 && !cascade) throw dependencyDisabled(name, needed)
        return await make({
          load: [...modules].map(([one, module]) => prepare(one, module)),
          commit: () => set(switchAll(names, true), (all) => {
            // Another server may have disabled it concurrently.
            const off = [...modules.values()].flatMap((module) => module.dependencies.filter((other) => known.has(other) && !isWanted(other, all)))
            if (off.length > 0) throw dependencyDisabled(name, off)
          })
        })
      })
    },

    async disable (name, cascade) {
      get(name)
      const dependents = dependentsOf(name, dependencies())
      if (dependents.length > 0 && !cascade) throw featureInUse(name, dependents)
      if (!running(name) && settingOf(name).enabled === false) return await make({ unload: [name] })
      const names = [...dependents, name]
      return await make({
        unload: names,
        commit: () => set(switchAll(names, false), (all) => {
          // Another server may have enabled a dependent concurrently.
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
