import { featureVariables } from './feature-settings.ts'
import type { Config } from './load.ts'
import { secrets } from './schema.ts'

/** The names of all secret variables of the kernel and of the features in features/. */
export const secretVariables = (): string[] => [...secrets, ...featureVariables().filter(({ isSecret }) => isSecret).map(({ name }) => name)]

/**
 * @returns the values of the kernel's secrets. REDIS_URL is represented by its password. FEATURES_CONFIG is omitted,
 *   because most of it is not secret
 */
export function kernelSecrets (config: Config): unknown[] {
  const password = URL.parse(config.REDIS_URL ?? '')?.password
  return [
    ...secrets.filter((name) => name !== 'FEATURES_CONFIG' && name !== 'REDIS_URL').map((name) => config[name as keyof Config]),
    password
  ]
}
