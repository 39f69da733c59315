import type { EnvironmentDefaults } from './load.ts'

/** What is exposed to the world: the page for trying things out is not. */
export default {
  env: {},
  features: { stage: false }
} satisfies EnvironmentDefaults
