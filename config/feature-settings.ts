import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { z } from 'zod'
import { isSecret, variableOf } from '../plugins/schema/variables.ts'
import type { Variable } from '../plugins/schema/variables.ts'

/** An environment variable that is required only under a condition. */
export interface Requirement {
  name: string
  when: (given: Readonly<Record<string, string | undefined>>) => boolean
  /** The error message is "is required", followed by this text. */
  reason: string
}

/** The exports of a feature's `config.ts`, which the server reads at startup. */
interface SettingsModule {
  /** Schema of the settings. */
  config: z.ZodObject
  requirements?: readonly Requirement[]
  /**
   * Functions that generate values for variables that are not set. The server calls these functions at each start,
   * except in production.
   */
  generated?: Readonly<Record<string, () => string>>
  /** Name of an environment variable. If given, the feature is on by default only if this variable is set. */
  enabledBy?: string
}

export interface FeatureSettings extends Required<Omit<SettingsModule, 'enabledBy'>> {
  feature: string
  enabledBy: string | undefined
}

const folder = join(import.meta.dirname, '../features')

/**
 * The settings of the features in features/, read from their `config.ts` files. The server uses these settings to
 * report every invalid variable at startup. The settings of features in other folders are checked only when the feature
 * is loaded.
 */
export const featureSettings: readonly FeatureSettings[] = await Promise.all(readdirSync(folder).sort()
  .map((feature) => ({ feature, path: join(folder, feature, 'config.ts') }))
  .filter(({ path }) => existsSync(path))
  .map(async ({ feature, path }) => {
    const { config, requirements = [], generated = {}, enabledBy } = await import(pathToFileURL(path).href) as SettingsModule
    return { feature, config, requirements, generated, enabledBy }
  }))

/** A feature setting that can be set with an environment variable. */
export interface FeatureVariable extends Variable {
  feature: string
  setting: string
  field: z.ZodType
  isSecret: boolean
}

/** @returns the variables of all features in features/ */
export function featureVariables (): FeatureVariable[] {
  return featureSettings.flatMap(({ feature, config }) => Object.entries(config.shape as Record<string, z.ZodType>).flatMap(([setting, field]) => {
    const variable = variableOf(field)
    return variable ? [{ ...variable, feature, setting, field, isSecret: isSecret(field) }] : []
  }))
}
