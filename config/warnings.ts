import { isLoopback } from './addresses.ts'
import type { Environment } from './schema.ts'

/**
 * @param variables all environment variables as strings, including the features' variables
 * @returns a warning for each address of Redis that the server does not use; and, in production, for each connection
 *   that is not encrypted and leaves this machine
 */
export function warningsOf (config: Environment, variables: Readonly<Record<string, string>>): string[] {
  const warnings = ignoredAddresses(config)
  if (config.NODE_ENV !== 'production') return warnings
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

/** @returns a warning for each setting that has no effect, because a different setting already names Redis */
function ignoredAddresses ({ REDIS_URL, REDIS_SENTINELS, REDIS_CLUSTER_NODES }: Environment): string[] {
  const isSet = { REDIS_URL: REDIS_URL !== undefined, REDIS_SENTINELS: REDIS_SENTINELS.length > 0, REDIS_CLUSTER_NODES: REDIS_CLUSTER_NODES.length > 0 }
  const [used, ...ignored] = Object.entries(isSet).filter(([, set]) => set).map(([name]) => name)
  return ignored.map((name) => `${name} is ignored, because ${used} is set`)
}
