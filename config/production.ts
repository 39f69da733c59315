import type { EnvironmentDefaults } from './load.ts'

/**
 * By default, turns off the features that should not be public (the API docs, the list of rooms, the stage) and the
 * features that only some deployments need.
 */
export default {
  env: {},
  features: { broadcast: false, docs: false, lobby: false, 'push-to-talk': false, recording: false, stage: false, 'socket-io': false, whip: false }
} satisfies EnvironmentDefaults
