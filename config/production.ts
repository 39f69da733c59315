import type { EnvironmentDefaults } from './load.ts'

/**
 * Defaults for production. Features that should not be public (the API docs, the list of rooms, the stage) and features
 * that only some deployments need are off.
 */
export default {
  env: {},
  features: { broadcast: false, docs: false, lobby: false, 'push-to-talk': false, recording: false, stage: false, 'socket-io': false, whip: false }
} satisfies EnvironmentDefaults
