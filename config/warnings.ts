import { isLoopback } from './addresses.ts'
import type { Environment } from './schema.ts'

/**
 * @param variables all environment variables as strings, including the features' variables
 * @returns in production: a warning for each connection that is not encrypted and leaves this machine; otherwise: an
 *   empty array
 */
export function warningsOf (config: Environment, variables: Readonly<Record<string, string>>): string[] {
  if (config.NODE_ENV !== 'production') return []
  const warnings: string[] = []
  const redis = config.REDIS_URL === undefined ? undefined : URL.parse(config.REDIS_URL)
  const named = [...config.REDIS_SENTINELS, ...config.REDIS_CLUSTER_NODES].map(({ host }) => host).find((host) => !isLoopback(host))
  const redisHost = redis?.hostname ?? named ?? config.REDIS_HOST
  const isEncrypted = redis ? redis.protocol === 'rediss:' : config.REDIS_TLS
  if (redisHost !== undefined && !isLoopback(redisHost) && !isEncrypted) {
    warnings.push(`the connection to Redis at ${redisHost} is not encrypted: use rediss:// or REDIS_TLS, or a private network`)
  }
  for (const name of ['LARAVEL_API_URL', 'BLOBS_S3_URL']) {
    const url = URL.parse(variables[name] ?? '')
    if (url?.protocol === 'http:' && !isLoopback(url.hostname)) warnings.push(`${name} is not encrypted: use https://, or a private network`)
  }
  if (config.SSL_CERT_PATH === undefined && !config.TRUST_PROXY && !isLoopback(config.HOST)) {
    warnings.push('clients connect without TLS (ws://), so browsers block the microphone: set SSL_KEY_PATH and SSL_CERT_PATH, or TRUST_PROXY behind a proxy with TLS')
  }
  return warnings
}
