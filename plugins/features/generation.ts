import Fastify, { LogController } from 'fastify'
import type { FastifyInstance, HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { routerOptions } from '../../config/router.ts'
import type { AgendaRegistrar, JobHandler } from '../agenda.ts'
import type { Control } from '../control.ts'
import { NotFound } from '../errors/codes.ts'
import { useWireErrors } from '../errors/index.ts'
import type { HookEntry, HookRegistrar } from '../hooks.ts'
import { createCalls } from '../messages/calls.ts'
import type { Calls } from '../messages/calls.ts'
import { createMessageRecorder } from '../messages/routes.ts'
import type { MessageTable } from '../messages/routes.ts'
import type { FeatureModule } from './discovery.ts'

/** A feature as it runs: one child instance and what it registered. */
export interface Generation {
  name: string
  number: number
  module: FeatureModule
  /** Its settings, as its own schema has made them. */
  config: Record<string, unknown>
  app: FastifyInstance
  table: MessageTable
  hooks: readonly HookEntry[]
  jobs: ReadonlyMap<string, JobHandler>
  routes: readonly { method: HTTPMethods, url: string, schema: unknown }[]
  /** Decorators it adds for others. */
  provides: readonly string[]
  loadedAt: number
  /** Messages, REST calls, hooks and jobs that run in it. */
  calls: Calls
}

export interface GenerationPlan {
  name: string
  number: number
  module: FeatureModule
  config: Record<string, unknown>
  /** How a dependency is reached: always its generation of the moment. */
  slot (name: string): Record<string, unknown> | undefined
  /** Decorators of a feature it depends on; undefined when that is not in service. */
  provided (name: string): readonly string[] | undefined
  /** @throws when the type is somebody else's */
  claimMessage (type: string): void
  /** @throws when the route is somebody else's */
  claimRoute (method: string, url: string): void
}

/** What of the kernel a feature gets as it is. */
const shared = ['admin', 'config', 'metrics', 'store', 'bus', 'sockets', 'rooms', 'sfu', 'drain', 'features', 'nodeId'] as const

/**
 * Builds one generation of a feature, ready to be put in service. Nothing of
 * it is in force yet: what it registers is only recorded.
 *
 * @param kernel the instance that outlives it
 * @throws what the plugin throws, and when a dependency is not there
 */
export async function buildGeneration (kernel: FastifyInstance, plan: GenerationPlan): Promise<Generation> {
  const { name, number, module, config, slot, provided, claimMessage, claimRoute } = plan
  const app = Fastify({
    loggerInstance: kernel.log.child({ feature: name }),
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: kernel.config.TRUST_PROXY,
    pluginTimeout: 30_000,
    routerOptions
  })
  const calls = createCalls()
  const messages = createMessageRecorder((type) => {
    claimMessage(type)
    if (!module.types.includes(type)) throw new Error(`The feature ${name} answers ${type}, which its exported requests do not name`)
  })
  const hooks: HookEntry[] = []
  const jobs = new Map<string, JobHandler>()
  const routes: { method: HTTPMethods, url: string, schema: unknown }[] = []

  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  useWireErrors(app)
  for (const decorator of shared) app.decorate(decorator, kernel[decorator] as never)
  if (kernel.hasDecorator('redis')) app.decorate('redis', kernel.redis)
  app.decorate('messages', { on: messages.on, events: messages.events, adds: messages.adds, limits: kernel.messages.limits } as never)
  app.decorate('hooks', {
    on: (hook, fn) => {
      const call = fn as (...args: unknown[]) => unknown
      hooks.push({ name: hook, fn: (...args: unknown[]) => calls.run(() => call(...args)) })
    }
  } satisfies HookRegistrar as never)
  app.decorate('agenda', {
    on: (job, handler) => { jobs.set(job, (key) => calls.run(() => handler(key))) },
    schedule: kernel.agenda.schedule
  } satisfies AgendaRegistrar as never)
  app.decorate('control', {
    send: kernel.control.send,
    on (kind, handler) {
      const off = kernel.control.on(kind, handler)
      app.addHook('onClose', async () => off())
      return off
    }
  } satisfies Control)
  app.addHook('onRoute', (route) => {
    if (!kernel.admin.guard(route)) {
      // There is no key: not even a wider route of the feature may lead here.
      route.onRequest = async (request) => { throw new NotFound(request.url.split('?')[0]) }
      return
    }
    for (const method of [route.method].flat() as HTTPMethods[]) {
      claimRoute(method, route.url)
      routes.push({ method, url: route.url, schema: route.schema })
    }
  })
  app.addHook('onRequest', async (_request, reply) => {
    const done = calls.begin((error) => { if (!reply.sent) reply.send(error) })
    // There is no response, and no onResponse, for whoever hangs up.
    reply.raw.once('close', done)
  })

  for (const dependency of module.dependencies) {
    const decorators = provided(dependency)
    if (decorators === undefined && !kernel.hasPlugin(dependency)) continue
    app.register(fp(async function stub (instance) {
      for (const decorator of decorators ?? []) {
        instance.decorate(decorator, { getter: () => slot(dependency)?.[decorator] } as never)
      }
    }, { name: dependency }))
  }
  const before = new Set(Object.getOwnPropertyNames(app))
  try {
    app.register(module.plugin, config)
    await app.ready()
  } catch (error) {
    await app.close().catch(() => { /* What failed to start may fail to stop; the first error counts. */ })
    throw error
  }
  const provides = Object.getOwnPropertyNames(app).filter((property) => !before.has(property) && !module.dependencies.some((dependency) => provided(dependency)?.includes(property)))
  return { name, number, module, config, app, hooks, jobs, routes, provides, calls, table: messages.table, loadedAt: Date.now() }
}
