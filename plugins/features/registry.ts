import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { unavailable, validationFailed } from '../errors/codes.ts'
import { Registrations } from '../registrations.ts'
import { importFeature } from './discovery.ts'
import type { FeatureModule, FoundFeature } from './discovery.ts'
import { FeatureNotFound, loadFailed } from './errors.ts'
import type { Place } from './errors.ts'
import type { Generation } from './generation.ts'
import type { FeatureTarget } from './plan.ts'
import type { FeatureSetting } from './settings.ts'
import { runAs } from './running-code.ts'
import { secretValues, settingsFromEnv, strictly, variableOf } from '../schema/variables.ts'

export type FeatureState = 'enabled' | 'disabled' | 'failed'

/** One feature on this server. */
export interface Known {
  found: FoundFeature
  /** `failed`: enabled but not running, or suspended; see {@link Registry.suspend}. */
  state: FeatureState
  module?: FeatureModule
  generation?: Generation
  /** The {@link FeatureTarget.version} of the running generation. */
  version?: unknown
  /** Why the feature is not running, or why its last change failed. */
  error?: Error
  /** The settings that this server last tried to apply. */
  applied: FeatureSetting
}

/** The installed features, running or not. */
export interface Registry {
  /** All installed features. Among them, the running features appear in the order in which they were enabled. */
  readonly known: Map<string, Known>
  /** @throws FEATURE_NOT_FOUND */
  get (name: string): Known
  running (name: string): Generation | undefined
  serving (): Generation[]
  /** The running features, for the planner. */
  targets (): Map<string, FeatureTarget>
  /**
   * Imports a feature's code from disk, without starting the feature.
   *
   * @param fresh true if the code may have changed since this process last imported it; false for the import at startup
   * @throws FEATURE_LOAD_FAILED
   */
  importCode (name: string, fresh?: boolean): Promise<FeatureModule>
  /**
   * @param set the settings that admins have changed. These settings override FEATURES_CONFIG, and FEATURES_CONFIG
   *   overrides the environment variables of individual settings
   * @returns the feature's resulting settings
   * @throws VALIDATION_FAILED
   */
  configOf (module: FeatureModule, name: string, set: Readonly<Record<string, unknown>> | undefined): Record<string, unknown>
  /** Sequence number of the feature's latest import. */
  numberOf (name: string): number
  /** Counts attempts to build a generation, by result. */
  built (name: string, result: 'ok' | 'failed'): void
  started (generation: Generation, version: unknown): void
  stopped (name: string): void
  /** Records why a change failed. The feature's running generation, if there is one, keeps running. */
  failed (name: string, error: unknown, wanted: boolean): void
  /** Records why the server has taken a feature out of service. */
  faulty (name: string, reason: Error): void
  /** Records why a feature counts as failed although it stays in service. */
  suspend (name: string, reason: Error): void
  /** @throws UNAVAILABLE if the feature should run but has failed */
  assertNotFailed (name: string): void
  /** Removes a feature that is not running. */
  forget (name: string): void
}

/**
 * After this many imports, a log line recommends a restart, because Node never frees imported code (30 to 300 KB per
 * import).
 */
const manyImports = 300

export function createRegistry ({ config, log, metrics, nodeId, redaction, registrations }: FastifyInstance): Registry {
  const known = new Map<string, Known>()
  // If a feature is removed and added again, its generation numbers continue from the last one.
  const numbers = new Map<string, number>()
  let imports = 0

  const number = metrics.gauge('flylive_feature_generation', 'Current generation of the feature; 0 if it is not running', ['feature'])
  const failing = metrics.gauge('flylive_feature_failed', "1 if the feature's last change failed on this server or the feature is out of service after too many faults, otherwise 0", ['feature'])
  const loads = metrics.counter('flylive_feature_loads_total', 'Attempts to load a new generation of a feature, by result (ok or failed)', ['feature', 'result'])

  function get (name: string): Known {
    const feature = known.get(name)
    if (!feature) throw new FeatureNotFound(name)
    return feature
  }

  /**
   * Masks secrets in an error's message and details. Modifies the error object, because the admin receives the same
   * object.
   */
  function withoutSecrets (error: Error & { details?: unknown }): Error {
    error.message = redaction.redact(error.message)
    if (error.details !== undefined) error.details = JSON.parse(redaction.redact(JSON.stringify(error.details)))
    return error
  }

  function settled (name: string, generation: number): void {
    delete get(name).error
    number.set({ feature: name }, generation)
    failing.set({ feature: name }, 0)
  }

  /** Removes everything that a feature has registered. Its requests are then rejected with FEATURE_DISABLED. */
  function turnOff ({ found: { name }, module }: Known): void {
    const off = new Registrations(name)
    for (const type of module?.types ?? []) off.add('exportedType', type, true)
    registrations.install(name, off)
  }

  /** Records why a feature is not running, or why its last change failed. */
  function record (name: string, error: unknown, wanted: boolean): Known | undefined {
    const feature = known.get(name)
    if (!feature) return
    feature.error = withoutSecrets(error instanceof Error ? error : new Error(String(error)))
    failing.set({ feature: name }, 1)
    if (feature.generation) return feature
    feature.state = wanted ? 'failed' : 'disabled'
    number.set({ feature: name }, 0)
    turnOff(feature)
    return feature
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
      if (++imports % manyImports === 0) log.warn({ imports }, 'many feature reloads: old code remains in memory; schedule a restart')
      numbers.set(name, registry.numberOf(name) + 1)
      try {
        const generation = registry.numberOf(name)
        const entry = feature.found.locate() ?? feature.found.entry
        feature.found = { ...feature.found, entry }
        const module = await runAs({ nodeId, feature: name, generation, call: 'import' }, () => importFeature(feature.found, generation, fresh))
        if (!feature.generation) feature.module = module
        return module
      } catch (error) {
        registry.built(name, 'failed')
        throw loadFailed(feature.found, error)
      }
    },
    configOf (module, name, set) {
      const given = { ...config.FEATURES_CONFIG[name], ...set }
      const settings = { ...settingsFromEnv(module.config, config.variables), ...given }
      redaction.add(secretValues(module.config, settings))
      const parsed = strictly(module.config).safeParse(settings)
      if (parsed.success) {
        redaction.add(secretValues(module.config, parsed.data))
        return parsed.data
      }
      // If an invalid value came from an environment variable, report the name of that variable instead of the
      // setting's name.
      throw validationFailed(parsed.error.issues.map(({ path: [key, ...rest], message }) => {
        const field = key !== undefined && !(key in given) ? module.config.shape[String(key)] as z.ZodType | undefined : undefined
        return { path: [(field && variableOf(field)?.name) ?? key ?? '', ...rest], message: redaction.redact(message) }
      }))
    },
    numberOf: (name) => numbers.get(name) ?? 0,
    built: (name, result) => loads.inc({ feature: name, result }),
    started (generation, version) {
      const { name, module } = generation
      const feature = get(name)
      // Move the feature to the end, so that running features are listed after their dependencies.
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
      turnOff(feature)
      settled(name, 0)
    },
    failed (name, error, wanted) {
      const before = known.get(name)?.error?.message
      const feature = record(name, error, wanted)
      // Log a repeated failure only once.
      if (feature?.error && feature.error.message !== before) log.error({ feature: name, ...failureFields(error), serving: feature.generation?.number }, 'failed to load a feature')
    },
    faulty (name, reason) {
      record(name, reason, true)
    },
    suspend (name, reason) {
      record(name, reason, true)
      get(name).state = 'failed'
    },
    assertNotFailed (name) {
      if (known.get(name)?.state === 'failed') throw unavailable(`The feature ${name} has failed`)
    },
    forget (name) {
      registrations.install(name, undefined)
      known.delete(name)
      number.remove({ feature: name })
      failing.remove({ feature: name })
    }
  }
  return registry
}

/**
 * @returns the log fields of a failed load: the location in the feature's code, and the original error. The
 *   FEATURE_LOAD_FAILED error itself is not logged, because it only repeats the original error
 */
function failureFields (error: unknown): { err: unknown } & Partial<Place> {
  const { cause, details } = Object(error) as { cause?: unknown, details?: Partial<Place> }
  if (details?.file === undefined || !(cause instanceof Error)) return { err: error }
  return { file: details.file, ...(details.line === undefined ? {} : { line: details.line }), err: cause }
}
