import fp from 'fastify-plugin'
import type { Config } from '../config/load.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The checked configuration; see config/schema.ts for what each variable means. */
    config: Config
  }
}

/** Makes the configuration that `app.ts` was given known to everything else. */
export default fp<{ config: Config }>(async function config (app, options) {
  app.decorate('config', options.config)
}, { name: 'config' })
