import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { z } from 'zod'
import type { FeatureInstance } from './feature.ts'

/** Options that the loader has made by the feature's own schema. */
const made = new WeakSet<object>()

/**
 * Notes that options are what a feature's schema makes of its settings, so
 * that {@link defineFeature} does not put them through it again.
 *
 * @returns the same options
 */
export function madeBySchema<T extends object> (options: T): T {
  made.add(options)
  return options
}

export interface FeatureMeta<C extends z.ZodObject> {
  /** The name of its folder or package. */
  name: string
  /** Features, and parts of the kernel, without which it can't run. It is started after them. */
  dependencies?: readonly string[]
  /** What those must decorate the instance with; their next generations must, too. */
  decorators?: readonly string[]
  /** What can be set of it: the same as its module exports. */
  config?: C
}

/**
 * Makes a plugin a feature: what a feature's module exports as its default.
 *
 * @param plugin gets the instance and its settings, checked and completed by `config`;
 *   also where it is registered like any plugin, in a test say, with some of them or none
 * @returns a plugin for the loader, `app.register` and @fastify/autoload
 */
export function defineFeature<C extends z.ZodObject = z.ZodObject<Record<never, never>>> (
  plugin: (app: FeatureInstance, options: z.output<C>) => Promise<void>,
  { name, dependencies = [], decorators = [], config }: FeatureMeta<C>
): FastifyPluginAsync<Record<string, unknown>> {
  const schema = config ?? z.object({})
  return fp(async function feature (app: FastifyInstance, options: Record<string, unknown>) {
    const settings = made.has(options) ? options : schema.parse(options)
    await plugin(app as unknown as FeatureInstance, settings as z.output<C>)
  }, { name, dependencies: [...dependencies], decorators: { fastify: [...decorators] } })
}
