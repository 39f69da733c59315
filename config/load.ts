import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import development from './development.ts'
import production from './production.ts'
import test from './test.ts'
import { requirements, schema } from './schema.ts'
import type { Environment } from './schema.ts'

/** The exports of a `config/<NODE_ENV>.ts`: default variables and feature toggles. */
export interface EnvironmentDefaults {
  env: Partial<Record<keyof Environment, string>>
  features: Record<string, boolean>
}

/** The configuration of the server: the environment, validated, with defaults. */
export interface Config extends Environment {
  JWT_SECRET: string
  /** Feature toggles of config/<NODE_ENV>, before `FEATURES`. A feature not named is on. */
  featureDefaults: Record<string, boolean>
  /** Secrets generated for this start because none are configured; never in production. */
  madeUp: ReadonlySet<'JWT_SECRET' | 'ADMIN_API_KEY'>
}

/** The environment is not valid; `problems` has one line per error. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code = 'CONFIG_INVALID'
  readonly problems: readonly string[]

  constructor (problems: readonly string[]) {
    super(`The configuration is wrong:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

const defaults = { development, production, test }

/**
 * Validates the environment and adds defaults: schema defaults < config/<NODE_ENV>
 * < environment. An empty variable counts as not set.
 *
 * @param env usually `process.env`
 * @returns the complete configuration
 * @throws {ConfigError} with all problems; it contains no secret values
 */
export function loadConfig (env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''))
  const name = z.enum(['development', 'production', 'test']).catch('development').parse(given.NODE_ENV)
  const merged: Partial<Record<keyof Environment, string>> = { ...defaults[name].env, ...given }
  const result = schema.safeParse(merged)
  const problems = [
    ...(result.error?.issues ?? []).map((issue) => `${String(issue.path[0])}: ${issue.message}`),
    ...requirements
      .filter((rule) => merged[rule.name] === undefined && rule.when(merged))
      .map((rule) => `${rule.name}: is required ${rule.reason}`)
  ]
  if (result.success && result.data.MEDIASOUP_RTC_MAX_PORT < result.data.MEDIASOUP_RTC_MIN_PORT) {
    problems.push('MEDIASOUP_RTC_MAX_PORT: must not be below MEDIASOUP_RTC_MIN_PORT')
  }
  if (!result.success || problems.length) throw new ConfigError(problems)
  const madeUp = new Set<'JWT_SECRET' | 'ADMIN_API_KEY'>()
  const values = result.data
  if (values.JWT_SECRET === undefined) madeUp.add('JWT_SECRET')
  if (values.NODE_ENV === 'development' && values.ADMIN_API_KEY.length === 0) madeUp.add('ADMIN_API_KEY')
  return {
    ...values,
    JWT_SECRET: values.JWT_SECRET ?? randomBytes(32).toString('hex'),
    ADMIN_API_KEY: madeUp.has('ADMIN_API_KEY') ? [randomBytes(24).toString('base64url')] : values.ADMIN_API_KEY,
    // laravel-bridge needs a backend.
    featureDefaults: { 'laravel-bridge': values.LARAVEL_API_URL !== undefined, ...defaults[name].features },
    madeUp
  }
}
