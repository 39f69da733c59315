import type { EnvironmentDefaults } from './load.ts'

/**
 * Defaults for a developer's machine. The server accepts HTTP connections only from localhost, stops without waiting
 * for clients, and reloads a feature when its files change. Clients can also send audio to the machine's own addresses
 * (see own-addresses.ts).
 */
export default {
  env: { HOST: '127.0.0.1', DRAIN_SECONDS: '0', FEATURES_WATCH: 'true' },
  features: { stage: true }
} satisfies EnvironmentDefaults
