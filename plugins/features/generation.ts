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
import { createMessageRecorder } from '../messages/routes.ts'
import type { MessageTable } from '../messages/routes.ts'
import type { FeatureModule } from './discovery.ts'

/** A feature as it runs: one child instance and what it registered. */
export interface Generation {
  name: string
  number: number
  app: FastifyInstance
  table: MessageTable
  hooks: readonly HookEntry[]
  jobs: ReadonlyMap<string, JobHandler>
  routes: readonly { method: HTTPMethods, url: string }[]
  /** Decorators it adds for others. */
  provides: readonly string[]
  loadedAt: number
  /** REST calls that run in it. */
  running: number
}

/** What of the kernel a feature gets as it is. */
const shared = ['config', 'metrics', 'store', 'bus', 'sockets', 'rooms', 'sfu', 'drain', 'features', 'nodeId'] as const

/**
 * Builds one generation of a feature, ready to be put in service. Nothing of
 * it is in force yet: what it registers is only recorded.
 *
 * @param kernel the instance that outlives it
 * @param slot how a dependency is reached: always its generation of the moment
 * @param provided decorators of a feature it depends on; undefined when that is not in service
 * @throws what the plugin throws, and when a dependency is not there
 */
export async function buildGeneration (
  kernel: FastifyInstance,
  feature: { name: string, number: number, module: FeatureModule },
  slot: (name: string) => Record<string, unknown> | undefined,
  provided: (name: string) => readonly string[] | undefined
): Promise<Generation> {
  const { name, number, module } = feature
  const app = Fastify({
    loggerInstance: kernel.log.child({ feature: name }),
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: kernel.config.TRUST_PROXY,
    pluginTimeout: 30_000,
    routerOptions
  })
  const messages = createMessageRecorder()
  const hooks: HookEntry[] = []
  const jobs = new Map<string, JobHandler>()
  const routes: { method: HTTPMethods, url: string }[] = []
  const generation = { running: 0 }

  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  useWireErrors(app)
  for (const decorator of shared) app.decorate(decorator, kernel[decorator] as never)
  if (kernel.hasDecorator('redis')) app.decorate('redis', kernel.redis)
  app.decorate('messages', { on: messages.on, events: messages.events, limits: kernel.messages.limits } as never)
  app.decorate('hooks', { on: (hook, fn) => { hooks.push({ name: hook, fn: fn as HookEntry['fn'] }) } } satisfies HookRegistrar as never)
  app.decorate('agenda', {
    on: (job, handler) => { jobs.set(job, handler) },
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
    for (const method of [route.method].flat()) routes.push({ method: method as HTTPMethods, url: route.url })
  })
  app.addHook('onRequest', async (_request, reply) => {
    generation.running++
    // There is no response, and no onResponse, for whoever hangs up.
    reply.raw.once('close', () => { generation.running-- })
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
    app.register(module.plugin)
    await app.ready()
    const unnamed = messages.table.routes.filter((route) => !module.types.includes(route.type)).map((route) => route.type)
    if (unnamed.length) throw new Error(`The feature ${name} answers ${unnamed.join(', ')}, which its exported requests do not name`)
  } catch (error) {
    await app.close().catch(() => { /* What failed to start may fail to stop; the first error counts. */ })
    throw error
  }
  const provides = Object.getOwnPropertyNames(app).filter((property) => !before.has(property) && !module.dependencies.some((dependency) => provided(dependency)?.includes(property)))

  return Object.assign(generation, {
    name, number, app, hooks, jobs, routes, provides, table: messages.table, loadedAt: Date.now()
  })
}
