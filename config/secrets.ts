import { featureVariables } from './feature-settings.ts'
import type { Config } from './load.ts'
import { secrets } from './schema.ts'

/** The names of all environment variables of the kernel and of the features in features/ that contain secrets. */
export const secretVariables = (): string[] => [...secrets, ...featureVariables().filter(({ isSecret }) => isSecret).map(({ name }) => name)]

/**
 * @returns the values of the kernel's secret variables. Of REDIS_URL, only the password is included. FEATURES_CONFIG is
 *   not included, because most of its contents are not secret
 */
export function kernelSecrets (config: Config): unknown[] {
  const password = URL.parse(config.REDIS_URL ?? '')?.password
  return [
    ...secrets.filter((name) => name !== 'FEATURES_CONFIG' && name !== 'REDIS_URL').map((name) => config[name as keyof Config]),
    password
  ]
}
