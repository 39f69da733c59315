import type { EnvironmentDefaults } from './load.ts'

/**
 * For a developer's machine: HTTP listens on localhost only, the server stops immediately and reloads changed
 * features. Audio also listens on the machine's own addresses; see own-addresses.ts.
 */
export default {
  env: { HOST: '127.0.0.1', DRAIN_SECONDS: '0', FEATURES_WATCH: 'true' },
  features: { stage: true }
} satisfies EnvironmentDefaults
