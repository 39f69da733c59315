import type { Config } from '../../config/load.ts'

/** Settings that grant access to the server or its Redis and that only the kernel uses. */
const kernelSecrets = ['ADMIN_API_KEY', 'METRICS_TOKEN', 'REDIS_URL', 'REDIS_PASSWORD'] as const

/** The configuration that features see. */
export type FeatureConfig = Readonly<Omit<Config, (typeof kernelSecrets)[number]>>

/** @returns the configuration without the kernel's secrets */
export function featureConfig (config: Config): FeatureConfig {
  const hidden: ReadonlySet<string> = new Set(kernelSecrets)
  return Object.fromEntries(Object.entries(config).filter(([name]) => !hidden.has(name))) as unknown as FeatureConfig
}
