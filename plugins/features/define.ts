import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { z } from 'zod'
import type { FeatureInstance } from './feature.ts'
import { settingsFromEnv } from '../schema/variables.ts'

type Plugin = FastifyPluginAsync<Record<string, unknown>>

/** For each plugin that {@link defineFeature} has returned, a plugin that does not parse its settings. */
const withoutParsing = new WeakMap<Plugin, Plugin>()

/** @returns the plugin to register if the settings have already been parsed with the feature's schema */
export const forParsedSettings = (plugin: Plugin): Plugin => withoutParsing.get(plugin) ?? plugin

export interface FeatureMeta<C extends z.ZodObject> {
  /** The feature's name, which is the name of its folder or package. */
  name: string
  /** The features and kernel plugins that this feature requires. Dependencies start before the feature. */
  dependencies?: readonly string[]
  /** The decorators that the dependencies must provide, even after a reload of the dependencies. */
  decorators?: readonly string[]
  /** Schema of the feature's settings. The module exports the same schema as `config`. */
  config?: C
}

/**
 * Creates a feature from a plugin. The result is the default export of the feature's module.
 *
 * @param plugin receives the Fastify instance and the settings. The settings are always parsed with the schema
 *   `config`, even if a test registers the feature as a plain plugin with incomplete settings
 * @returns a plugin that the loader, `app.register` and @fastify/autoload accept
 */
export function defineFeature<C extends z.ZodObject = z.ZodObject<Record<never, never>>> (
  plugin: (app: FeatureInstance, options: z.output<C>) => Promise<void>,
  { name, dependencies = [], decorators = [], config }: FeatureMeta<C>
): Plugin {
  const schema = config ?? z.object({})
  const meta = { name, dependencies: [...dependencies], decorators: { fastify: [...decorators] } }
  async function run (app: FastifyInstance, settings: Record<string, unknown>): Promise<void> {
    await plugin(app as unknown as FeatureInstance, settings as z.output<C>)
  }
  async function feature (app: FastifyInstance, options: Record<string, unknown>): Promise<void> {
    await run(app, schema.parse({ ...settingsFromEnv(schema, (app.config as FastifyInstance['config'] | undefined)?.variables ?? {}), ...options }))
  }
  // fastify-plugin modifies the function that it receives. Do not pass `plugin` itself, because several features may use
  // it.
  withoutParsing.set(feature, fp(run, meta))
  return fp(feature, meta)
}
