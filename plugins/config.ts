import fp from 'fastify-plugin'
import type { Config } from '../config/load.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The validated configuration; config/schema.ts describes each variable. */
    config: Config
  }
}

/** Decorates the instance with the configuration that `buildApp` received. */
export default fp<{ config: Config }>(async function config (app, options) {
  app.decorate('config', options.config)
}, { name: 'config' })
