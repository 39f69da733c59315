import type { FastifyInstance } from 'fastify'
import { validationFailed } from '../errors/codes.ts'
import { importFeature } from './discovery.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { FeatureNotFound } from './errors.ts'
import { loadFailed } from './failure.ts'
import type { Generation } from './generation.ts'
import type { FeatureTarget } from './plan.ts'
import type { FeatureSetting } from './settings.ts'

export type FeatureState = 'enabled' | 'disabled' | 'failed'

/** One feature on this server. */
export interface Known {
  found: FoundFeature
  /** `failed`: it should run and does not. */
  state: FeatureState
  module?: FeatureModule
  generation?: Generation
  /** What the generation was built for ({@link FeatureTarget}). */
  version?: unknown
  /** Why it does not run, or why it runs as it did before the last change. */
  error?: Error
  /** The setting that this server has followed last. */
  applied: FeatureSetting
}

/** The features that this server knows, whether they run or not. */
export interface Registry {
  /** Those that run come in the order in which they were enabled. */
  readonly known: Map<string, Known>
  /** @throws FEATURE_NOT_FOUND */
  get (name: string): Known
  running (name: string): Generation | undefined
  serving (): Generation[]
  /** What runs, for the planner. */
  targets (): Map<string, FeatureTarget>
  /**
   * Imports a feature's code as it is on disk now; nothing of it runs.
   *
   * @param fresh false for the first time, when the server starts
   * @throws FEATURE_LOAD_FAILED
   */
  importCode (name: string, fresh?: boolean): Promise<FeatureModule>
  /**
   * @param set by an admin; it goes before FEATURES_CONFIG
   * @returns the settings with which the feature is to run
   * @throws VALIDATION_FAILED
   */
  configOf (module: FeatureModule, name: string, set: Readonly<Record<string, unknown>> | undefined): Record<string, unknown>
  /** Number of the feature's last import. */
  numberOf (name: string): number
  /** Counts a generation that was built. */
  built (name: string, result: 'ok' | 'failed'): void
  started (generation: Generation, version: unknown): void
  stopped (name: string): void
  /** Records why a change failed: what ran before goes on. */
  failed (name: string, error: unknown, wanted: boolean): void
  /** Removes a feature that does not run. */
  forget (name: string): void
}

/** Each import stays in memory, 30 to 300 KB: from here on a restart is advised. */
const manyImports = 300

export function createRegistry ({ config, log, messages, metrics }: FastifyInstance): Registry {
  const known = new Map<string, Known>()
  // Goes on when a feature is removed and comes back.
  const numbers = new Map<string, number>()
  let imports = 0

  const number = metrics.gauge('flylive_feature_generation', 'Current generation of the feature; 0 if it is not running', ['feature'])
  const failing = metrics.gauge('flylive_feature_failed', 'Whether the last change of the feature failed on this server: 1 or 0', ['feature'])
  const loads = metrics.counter('flylive_feature_loads_total', 'Feature generations built, by result (ok or failed)', ['feature', 'result'])

  function get (name: string): Known {
    const feature = known.get(name)
    if (!feature) throw new FeatureNotFound(name)
    return feature
  }

  function settled (name: string, generation: number): void {
    delete get(name).error
    number.set({ feature: name }, generation)
    failing.set({ feature: name }, 0)
  }

  const registry: Registry = {
    known,
    get,
    running: (name) => known.get(name)?.generation,
    serving: () => [...known.values()].flatMap(({ generation }) => generation ?? []),
    targets: () => new Map([...known].flatMap(([name, { generation, version }]) =>
      generation ? [[name, { dependencies: generation.module.dependencies, version }] as const] : [])),
    async importCode (name, fresh = true) {
      const feature = get(name)
      if (++imports % manyImports === 0) log.warn({ imports }, 'many feature reloads: old code stays in memory, schedule a restart')
      numbers.set(name, registry.numberOf(name) + 1)
      try {
        const module = await importFeature(feature.found, registry.numberOf(name), fresh)
        if (!feature.generation) feature.module = module
        return module
      } catch (error) {
        registry.built(name, 'failed')
        throw loadFailed(feature.found, error)
      }
    },
    configOf (module, name, set) {
      const parsed = module.config.strict().safeParse({ ...config.FEATURES_CONFIG[name], ...set })
      if (!parsed.success) throw validationFailed(parsed.error.issues)
      return parsed.data
    },
    numberOf: (name) => numbers.get(name) ?? 0,
    built: (name, result) => loads.inc({ feature: name, result }),
    started (generation, version) {
      const { name, module } = generation
      const feature = get(name)
      // Those that run are listed after what they depend on.
      if (!feature.generation) {
        known.delete(name)
        known.set(name, feature)
      }
      Object.assign(feature, { state: 'enabled', module, generation, version })
      settled(name, generation.number)
    },
    stopped (name) {
      const feature = get(name)
      delete feature.generation
      delete feature.version
      feature.state = 'disabled'
      settled(name, 0)
    },
    failed (name, error, wanted) {
      const feature = known.get(name)
      if (!feature) return
      const before = feature.error?.message
      feature.error = error instanceof Error ? error : new Error(String(error))
      failing.set({ feature: name }, 1)
      if (!feature.generation) {
        feature.state = wanted ? 'failed' : 'disabled'
        number.set({ feature: name }, 0)
        if (feature.module) messages.disable(name, feature.module.types)
      }
      // A failure that repeats is logged once.
      if (feature.error.message !== before) log.error({ err: error, feature: name, serving: feature.generation?.number }, 'failed to load a feature')
    },
    forget (name) {
      messages.disable(name, [])
      known.delete(name)
      number.remove({ feature: name })
      failing.remove({ feature: name })
    }
  }
  return registry
}
