import type { EnvironmentDefaults } from './load.ts'

/**
 * Disables the features that must not be public by default: the API docs, the
 * list of rooms and the test page.
 */
export default {
  env: {},
  features: { docs: false, lobby: false, stage: false }
} satisfies EnvironmentDefaults
