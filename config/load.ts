import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { z } from 'zod'
import development from './development.ts'
import production from './production.ts'
import test from './test.ts'
import { problemsInEnv } from '../plugins/schema/variables.ts'
import { ConfigError } from './error.ts'
import { problemsInFeatures } from './feature-names.ts'
import { featureSettings } from './feature-settings.ts'
import { ownAddresses } from './own-addresses.ts'
import { warningsOf } from './warnings.ts'
import { requirements, schema } from './schema.ts'
import type { Environment } from './schema.ts'

/**
 * The default export of each `config/<NODE_ENV>.ts`: default values of environment variables, and which features are on
 * by default.
 */
export interface EnvironmentDefaults {
  env: Readonly<Record<string, string>>
  features: Record<string, boolean>
}

/** The server's configuration: validated environment variables, with defaults. */
export interface Config extends Environment {
  /** For each feature name, whether the feature is on by default. Features that are not listed are on by default. */
  featureDefaults: Record<string, boolean>
  /**
   * All environment variables as strings, including the defaults in config/<NODE_ENV>.ts and the generated secrets.
   * Features read their settings from this object.
   */
  variables: Readonly<Record<string, string>>
  /**
   * The secrets that the server generated at startup because they were not configured, by variable name. Empty in
   * production.
   */
  generated: ReadonlyMap<string, string>
  /** Warnings about settings that are valid, but insecure or without effect. The server logs the warnings at startup. */
  warnings: readonly string[]
}

const defaults = { development, production, test }

/**
 * Validates the environment variables of the kernel and of the features in features/, and adds defaults. Environment
 * variables override the defaults in config/<NODE_ENV>.ts, and these override the defaults in the schema. A variable
 * with an empty value counts as not set.
 *
 * @param env usually `process.env`
 * @returns the complete configuration
 * @throws {ConfigError} with all problems; the message contains no secret values
 */
export function loadConfig (env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ''))
  const name = z.enum(['development', 'production', 'test']).catch('development').parse(given.NODE_ENV)
  const generated = generateSecrets(name, given)
  const variables: Record<string, string> = { ...defaults[name].env, ...announcedByDefault(name, given), ...given, ...Object.fromEntries(generated) }
  const result = schema.safeParse(variables)
  const problems = [
    ...(result.error?.issues ?? []).map((issue) => `${String(issue.path[0])}: ${issue.message}`),
    ...featureSettings.flatMap(({ config }) => problemsInEnv(config, variables)),
    ...[requirements, ...featureSettings.map((feature) => feature.requirements)].flat()
      .filter((rule) => variables[rule.name] === undefined && rule.when(variables))
      .map((rule) => `${rule.name}: is required ${rule.reason}`)
  ]
  if (result.success) problems.push(...problemsBetween(result.data), ...problemsInFeatures(result.data))
  if (!result.success || problems.length) throw new ConfigError(problems)
  const enabledBy = featureSettings.flatMap(({ feature, enabledBy }) => enabledBy === undefined ? [] : [[feature, variables[enabledBy] !== undefined] as const])
  return { ...result.data, featureDefaults: { ...Object.fromEntries(enabledBy), ...defaults[name].features }, variables, generated, warnings: warningsOf(result.data, variables) }
}

/** @returns a message for each pair of variables whose values conflict */
function problemsBetween (config: Environment): string[] {
  const { MEDIASOUP_RTC_MIN_PORT: first, MEDIASOUP_RTC_MAX_PORT: last, MEDIASOUP_WORKERS: workers, MEDIASOUP_LISTEN_IP: ip, MEDIASOUP_ANNOUNCED_IP: announced } = config
  const problems: string[] = []
  if (last < first) problems.push('MEDIASOUP_RTC_MAX_PORT: must not be below MEDIASOUP_RTC_MIN_PORT')
  else if (last - first + 1 < workers) problems.push(`MEDIASOUP_RTC_MAX_PORT: must be at least ${first + workers - 1}, because each of the ${workers} workers needs a port`)
  if (config.RELAY_IP === '0.0.0.0' || config.RELAY_IP === '::') problems.push(`RELAY_IP: must be an address of one server, not ${config.RELAY_IP}`)
  if (config.RELAY_MAX_PORT < config.RELAY_MIN_PORT) problems.push('RELAY_MAX_PORT: must not be below RELAY_MIN_PORT')
  if (config.WS_BYTES_BURST < config.WS_MAX_FRAME_BYTES) problems.push('WS_BYTES_BURST: must not be below WS_MAX_FRAME_BYTES')
  const hidden = announced.find((address) => isIP(address) !== 0 && ip !== '0.0.0.0' && ip !== '::' && isIP(address) !== isIP(ip))
  if (hidden !== undefined) problems.push(`MEDIASOUP_ANNOUNCED_IP: ${hidden} is unreachable, because MEDIASOUP_LISTEN_IP is ${ip}; set MEDIASOUP_LISTEN_IP to 0.0.0.0 or ::`)
  return problems
}

/**
 * @returns in development, if neither MEDIASOUP_LISTEN_IP nor MEDIASOUP_ANNOUNCED_IP is set: MEDIASOUP_ANNOUNCED_IP
 *   with this machine's addresses. Otherwise: an empty object
 */
function announcedByDefault (environment: Environment['NODE_ENV'], given: Readonly<Record<string, string>>): Record<string, string> {
  const isSet = given.MEDIASOUP_LISTEN_IP !== undefined || given.MEDIASOUP_ANNOUNCED_IP !== undefined
  return environment !== 'development' || isSet ? {} : { MEDIASOUP_ANNOUNCED_IP: ownAddresses().join() }
}

/**
 * @param given the variables that are set
 * @returns a generated value for each missing secret; empty in production
 */
function generateSecrets (environment: Environment['NODE_ENV'], given: Readonly<Record<string, string>>): Map<string, string> {
  if (environment === 'production') return new Map()
  const generators = Object.assign({}, ...featureSettings.map(({ generated }) => generated)) as Record<string, () => string>
  if (environment === 'development') generators.ADMIN_API_KEY = () => randomBytes(24).toString('base64url')
  return new Map(Object.entries(generators).filter(([name]) => given[name] === undefined).map(([name, generate]) => [name, generate()]))
}
