import type { EnvironmentDefaults } from './load.ts'

/** For a developer's machine: listens on localhost only, stops immediately, and reloads changed features. */
export default {
  env: { HOST: '127.0.0.1', MEDIASOUP_LISTEN_IP: '127.0.0.1', DRAIN_SECONDS: '0', FEATURES_WATCH: 'true' },
  features: { stage: true }
} satisfies EnvironmentDefaults
