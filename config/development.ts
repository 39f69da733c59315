import type { EnvironmentDefaults } from './load.ts'

/**
 * Defaults for a developer's machine: HTTP listens on localhost only, the server stops without waiting for clients, and
 * a feature is reloaded when its files change. Clients can also send audio to the machine's own addresses; see
 * own-addresses.ts.
 */
export default {
  env: { HOST: '127.0.0.1', DRAIN_SECONDS: '0', FEATURES_WATCH: 'true' },
  features: { stage: true }
} satisfies EnvironmentDefaults
