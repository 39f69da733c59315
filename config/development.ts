import type { EnvironmentDefaults } from './load.ts'

/**
 * Defaults for a developer's machine. The server accepts HTTP connections only from localhost. At shutdown, the server
 * does not wait for clients to leave. The server reloads a feature when the feature's files change. For audio, clients
 * can also use the machine's other addresses (see own-addresses.ts).
 */
export default {
  env: { HOST: '127.0.0.1', DRAIN_SECONDS: '0', FEATURES_WATCH: 'true' },
  features: { stage: true }
} satisfies EnvironmentDefaults
