import type { EnvironmentDefaults } from './load.ts'

/** On a developer's own machine: reachable from there only, stops at once, and follows changes of features. */
export default {
  env: { HOST: '127.0.0.1', MEDIASOUP_LISTEN_IP: '127.0.0.1', DRAIN_SECONDS: '0', FEATURES_WATCH: 'true' },
  features: { stage: true }
} satisfies EnvironmentDefaults
