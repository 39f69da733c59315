import type { EnvironmentDefaults } from './load.ts'

/**
 * What is exposed to the world: the page for trying things out is not, nor is it
 * up to this server to decide that everybody may see which rooms there are.
 */
export default {
  env: {},
  features: { docs: false, lobby: false, stage: false }
} satisfies EnvironmentDefaults
