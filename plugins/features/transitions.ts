import { isCoded } from '../errors/codes.ts'
import type { Changed, Executor } from './apply.ts'
import type { Prepared } from './build.ts'
import type { DesiredState } from './desired.ts'
import type { FeatureModule } from './discovery.ts'
import { dependencyDisabled, featureInUse } from './errors.ts'
import { loadFailed } from './failure.ts'
import { plan } from './plan.ts'
import type { FeatureTarget, Plan, Refusal } from './plan.ts'
import type { Registry } from './registry.ts'

/** Features to build and to take out of service, in any order. */
export interface Transition {
  load?: readonly Prepared[]
  unload?: readonly string[]
  /** Persists the change; must succeed before the swap. */
  commit?: () => Promise<void>
}

/** Plans and applies changes on this server. */
export interface Transitions {
  /** @throws FEATURE_LOAD_FAILED if the code rejects the settings */
  prepare (name: string, module: FeatureModule): Prepared
  /**
   * Applies a change atomically.
   *
   * @throws FEATURE_IN_USE, DEPENDENCY_DISABLED, FEATURE_LOAD_FAILED, and the errors of `commit`
   */
  make (transition: Transition): Promise<Changed>
  /**
   * Applies a change per feature: a failure is recorded, and the other features are still changed.
   *
   * @returns the plan
   */
  makeEach (transition: Omit<Transition, 'commit'>): Promise<Plan>
  /** Runs a step for a feature; a failure is recorded with it. */
  attempt (name: string, step: () => Promise<unknown>): Promise<void>
  /** Records that this server has applied a feature's setting. */
  follow (name: string): void
}

/** Retried later: another change may remove the cause. */
const mayPass = (error: unknown) => isCoded(error) && (error.code === 'DEPENDENCY_DISABLED' || error.code === 'FEATURE_IN_USE')

export function createTransitions (registry: Registry, executor: Executor, desired: DesiredState): Transitions {
  const { get, targets } = registry

  function planFor ({ load = [], unload = [] }: Transition): Plan {
    const now = targets()
    const next = new Map<string, FeatureTarget>(now)
    for (const name of unload) next.delete(name)
    // Prepared features are always built: their code may have changed.
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

  const makeOne = (name: string, transition: Transition) => transitions.attempt(name, async () => {
    await transitions.make(transition)
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
    async make ({ load = [], unload = [], commit }) {
      const { load: order, unload: off, refused } = planFor({ load, unload })
      const [refusal] = refused
      if (refusal) throw errorOf(...refusal)
      return await executor.apply({ load: order.flatMap((name) => load.find((one) => one.name === name) ?? []), unload: off, commit })
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
