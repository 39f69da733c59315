import fp from 'fastify-plugin'
import type { Config } from '../config/load.ts'
import type { Redaction } from './schema/redaction.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The validated configuration; config/schema.ts describes each variable. */
    config: Config
    /** Masks secrets in strings. Log lines are masked automatically. */
    redaction: Redaction
  }
}

/** Decorates the instance with the configuration that `buildApp` received. */
export default fp<{ config: Config, redaction: Redaction }>(async function config (app, options) {
  app.decorate('config', options.config)
  app.decorate('redaction', options.redaction)
  for (const warning of options.config.warnings) app.log.warn(warning)
}, { name: 'config' })

/**
 * Settings that features cannot read: credentials of the server and its data stores, and the settings of all features.
 */
const kernelOnly = ['ADMIN_API_KEY', 'METRICS_TOKEN', 'REDIS_URL', 'REDIS_PASSWORD', 'REDIS_SENTINEL_PASSWORD', 'BLOBS_S3_ACCESS_KEY_ID', 'BLOBS_S3_SECRET_ACCESS_KEY', 'FEATURES_CONFIG', 'variables', 'generated'] as const

/** The configuration that features can read, without secrets and without the settings of features. */
export type FeatureConfig = Readonly<Omit<Config, (typeof kernelOnly)[number]>>

/** @returns the part of the configuration that features can read */
export function featureConfig (config: Config): FeatureConfig {
  const hidden: ReadonlySet<string> = new Set(kernelOnly)
  return Object.fromEntries(Object.entries(config).filter(([name]) => !hidden.has(name))) as unknown as FeatureConfig
}
