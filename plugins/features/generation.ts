import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import { trustProxyOption } from '../../config/addresses.ts'
import { bodyLimit, useJsonBodies } from '../../config/body.ts'
import { routerOptions } from '../../config/router.ts'
import { kernelNamespaces, namespaceKey } from '../kv/kv.ts'
import type { JobsRegistrar } from '../jobs/runner.ts'
import { NotFound } from '../errors/codes.ts'
import { frameworkErrors, useWireErrors } from '../errors/index.ts'
import { withTimeout } from '../errors/timeout.ts'
import { schemaController } from '../schema/compilers.ts'
import type { HookCaller, HookEntry } from '../hooks.ts'
import { createInFlight } from '../dispatch/in-flight.ts'
import type { CallSupervision, InFlight } from '../dispatch/in-flight.ts'
import { createMessageRegistrar, messageTable } from '../dispatch/routes.ts'
import type { MessageTable } from '../dispatch/routes.ts'
import { createGateRegistrar } from '../gate/gate.ts'
import type { PathOwner } from '../gate/gate.ts'
import { Registrations } from '../registrations.ts'
import type { FeatureModule } from './discovery.ts'
import { featureConfig } from '../config.ts'
import type { FeatureHookRegistrar, FeatureHooks, FeatureSurface } from './feature.ts'
import { createReceive, superviseBus, superviseGate, superviseRoutes, superviseSockets } from './supervised.ts'

/**
 * The result of loading a feature once: the feature's Fastify instance and its registrations. Each reload creates a new
 * generation.
 */
export interface Generation {
  name: string
  number: number
  module: FeatureModule
  /** The feature's settings, parsed with the feature's schema. */
  config: Record<string, unknown>
  app: FastifyInstance
  /** The messages, hooks, jobs, paths and cluster handlers of the feature. */
  registrations: Registrations
  routes: readonly { method: HTTPMethods, url: string, schema: unknown }[]
  /** The decorators that the feature provides to its dependents. */
  provides: readonly string[]
  loadedAt: number
  /** The generation's in-flight requests, hook calls and jobs. */
  calls: InFlight
  supervision: CallSupervision
  kept: KeptResources
}

export interface GenerationPlan {
  name: string
  number: number
  module: FeatureModule
  config: Record<string, unknown>
  supervision: CallSupervision
  /** Returns the resources that the running generation has created or taken over with `app.keep`. */
  previouslyKept (): KeptResources | undefined
  /**
   * Returns the Fastify instance of a dependency's current generation; undefined if the dependency is not in
   * service.
   */
  getFeature (name: string): Record<string, unknown> | undefined
  /** The decorators that a dependency provides; undefined if the dependency is not in service. */
  provided (name: string): readonly string[] | undefined
  /** @throws if the type belongs to another feature */
  claimMessage (type: string): void
  /** @throws if the kernel or another feature already declares a field with the same name in the same message */
  checkFields (table: MessageTable): void
  /** The other owners of paths and routes, which the feature's paths must not overlap. */
  pathOwners (): Iterable<PathOwner>
  /** @throws if the route belongs to another feature */
  claimRoute (method: string, url: string): void
  /** @throws if a running dependent requires a decorator that is no longer provided */
  checkProvided (decorators: readonly string[]): void
}

/** @returns an object with only the named properties of `object`, which always have their current values */
function only<T extends object, K extends keyof T> (object: T, ...names: readonly K[]): Pick<T, K> {
  const members = names.map((name) => [name, { enumerable: true, get: () => object[name] }] as const)
  return Object.defineProperties({}, Object.fromEntries(members)) as Pick<T, K>
}

/** The key-value store without the kernel's own namespaces, because those contain the settings of all features. */
function featureKeys ({ namespace, plainKeys }: FastifyInstance['kv']): FeatureSurface['kv'] {
  return {
    namespace (name) {
      if (kernelNamespaces.includes(name)) throw new Error(`The namespace ${name} belongs to the server`)
      return namespace(name)
    },
    plainKeys (prefix) {
      if (kernelNamespaces.includes(prefix) || kernelNamespaces.map(namespaceKey).some((key) => key.startsWith(prefix) || prefix.startsWith(key))) throw new Error(`Keys that begin with "${prefix}" belong to the server`)
      return plainKeys(prefix)
    }
  }
}

/**
 * Builds a generation of a feature, but does not put it into service: the feature's registrations are recorded and not
 * installed.
 *
 * @throws any error that the plugin throws, and an error if a dependency is missing
 */
export async function buildGeneration (kernel: FastifyInstance, plan: GenerationPlan): Promise<Generation> {
  const { name, number, module, config, supervision, previouslyKept, getFeature, provided, claimMessage, claimRoute, pathOwners, checkFields, checkProvided } = plan
  const app = Fastify({
    loggerInstance: kernel.log.child({ feature: name }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit,
    trustProxy: trustProxyOption(kernel.config.TRUST_PROXY),
    pluginTimeout: 30_000,
    frameworkErrors,
    routerOptions,
    schemaController
  })
  const calls = createInFlight(supervision)
  const kept = createKeptResources(app.log, previouslyKept)
  const registrations = new Registrations(name, calls)
  let isBuilt = false
  const messages = createMessageRegistrar(registrations, (type) => {
    claimMessage(type)
    if (!module.types.includes(type)) throw new Error(`The feature ${name} registers ${type}, which is missing from its exported requests`)
  }, (added) => {
    // The fields that the feature declares while it starts are checked together at the end, because each check compares
    // them with the fields of all other features.
    if (isBuilt) checkFields(added)
  })
  for (const type of module.types) registrations.add('exportedType', type, true)
  const gate = createGateRegistrar(registrations, pathOwners)
  const callHooks = kernel.hooks as unknown as HookCaller<FeatureHooks>
  const routes: { method: HTTPMethods, url: string, schema: unknown }[] = []

  useJsonBodies(app)
  useWireErrors(app)
  const receive = createReceive(calls, app.log)
  const registrars = {
    hooks: {
      on: (name, fn) => { registrations.add('hook', name, { label: `hook ${name}`, fn: fn as HookEntry['fn'] }) },
      has: callHooks.has,
      emit: callHooks.emit,
      collect: callHooks.collect,
      ask: callHooks.ask
    } satisfies FeatureHookRegistrar,
    jobs: {
      on: (job, handler) => { registrations.add('job', job, (key) => calls.run(() => handler(key), `job ${job}`)) },
      schedule: kernel.jobs.schedule
    } satisfies JobsRegistrar
  }
  // Must list every property of FeatureSurface. The compiler reports missing properties.
  const surface = {
    config: featureConfig(kernel.config),
    nodeId: kernel.nodeId,
    clock: kernel.clock,
    metrics: kernel.metrics,
    messages: { ...messages, dispatch: kernel.messages.dispatch },
    gate: superviseGate(gate, supervision),
    ...registrars,
    cluster: {
      send: kernel.cluster.send,
      tryLock: kernel.cluster.tryLock,
      ask: kernel.cluster.ask,
      answer: (kind, handler) => registrations.add('clusterRequest', kind, (data) => calls.run(() => handler(data as never), `answer ${kind}`)),
      on: (kind, handler) => registrations.add('clusterMessage', kind, receive(`message ${kind}`, handler))
    },
    bus: superviseBus(kernel.bus, receive, (fn) => { app.addHook('onClose', fn) }),
    rooms: kernel.rooms.forFeature(name, registrars, (fn) => { app.addHook('onClose', async () => fn()) }),
    sockets: superviseSockets(kernel.sockets.forFeature(name), supervision),
    sfu: kernel.sfu,
    kv: featureKeys(kernel.kv),
    blobs: kernel.blobs,
    store: Object.assign(
      only(kernel.store, 'kind', 'ban', 'unban', 'listBans', 'listEmptyRooms', 'forgetEmptyRoom', 'getRoom', 'listRooms', 'listBusyRooms', 'getParticipants', 'listParticipants', 'getMembers', 'getSomeMembers'),
      { readLog: (roomId: string, last?: number) => kernel.store.readLog(roomId, name, last) }
    ),
    directory: only(kernel.directory, 'sessionsOf'),
    // A feature gets no other methods of `features`, because they reveal or change the settings of all features.
    features: only(kernel.features, 'enabled', 'getFeature', 'isEnabled'),
    keep: kept.keep,
    admin: only(kernel.admin, 'audit', 'identify'),
    contract: () => kernel.contract(),
    drain: only(kernel.drain, 'draining'),
    redis: kernel.hasDecorator('redis') ? kernel.redis : undefined
  } satisfies FeatureSurface
  for (const [name, part] of Object.entries(surface)) app.decorate(name, part as never)
  app.addHook('onRoute', (route) => {
    if (!kernel.admin.guard(route)) {
      // If no admin key is configured, routes under /admin return 404. The routes stay registered, so that no wildcard
      // route handles requests to these URLs.
      route.onRequest = async (request) => { throw new NotFound(request.url.split('?')[0]) }
      return
    }
    for (const method of [route.method].flat() as HTTPMethods[]) {
      claimRoute(method, route.url)
      routes.push({ method, url: route.url, schema: route.schema })
    }
  })
  superviseRoutes(app, calls, supervision)

  for (const dependency of module.declaredDependencies) {
    const decorators = module.dependencies.includes(dependency) ? provided(dependency) : undefined
    if (decorators === undefined && !kernel.hasPlugin(dependency)) continue
    app.register(fp(async function stub (instance) {
      for (const decorator of decorators ?? []) {
        instance.decorate(decorator, { getter: () => getFeature(dependency)?.[decorator] } as never)
      }
    }, { name: dependency }))
  }
  const before = new Set(Object.getOwnPropertyNames(app))
  try {
    app.register(module.plugin, config)
    await app.ready()
    checkFields(messageTable(registrations))
    isBuilt = true
    const provides = Object.getOwnPropertyNames(app).filter((property) => !before.has(property) && !module.dependencies.some((dependency) => provided(dependency)?.includes(property)))
    checkProvided(provides)
    return { name, number, module, config, app, registrations, routes, provides, calls, supervision, kept, loadedAt: Date.now() }
  } catch (error) {
    registrations.end()
    await closeInTime(kernel, name, app.close().catch(() => { /* A feature that failed to start may also fail to stop. Only the first error is reported. */ }))
    await kept.dispose(previouslyKept())
    throw error
  }
}

/**
 * Closes a generation that is out of service, then disposes of its kept resources. If closing times out, the disposal
 * starts anyway.
 *
 * @param heir returns the resources of the running generation, which must not be disposed of
 */
export async function closeGeneration (kernel: FastifyInstance, { name, app, registrations, kept, supervision }: Generation, heir: () => KeptResources | undefined): Promise<void> {
  registrations.end()
  const closed = supervision.enter('onClose', async () => app.close()).catch((err: unknown) => kernel.log.error({ err, feature: name }, 'failed to close the previous feature instance'))
  await closeInTime(kernel, name, closed)
  await supervision.enter('dispose', () => kept.dispose(heir()))
}

/** Waits until a feature's instance is closed, but not for `onClose` hooks that take too long or never end. */
async function closeInTime ({ config, log }: FastifyInstance, name: string, closed: Promise<unknown>): Promise<void> {
  await withTimeout(closed, Math.max(config.FEATURES_DRAIN_SECONDS * 1000, 1000), () => {
    log.error({ feature: name }, "a feature's onClose timed out: its resources may leak")
  })
}

/**
 * Returns the resource that the previous generation of the feature kept under the same key, or creates it. The resource
 * outlives reloads.
 *
 * The resource is disposed of when the feature is disabled or removed, when the server closes, and after a reload if
 * the new generation does not keep it. If a generation fails to start, only the resources that this generation has
 * created are disposed of. Within a generation, a key always returns the same resource. A feature sees only its own
 * keys.
 *
 * The resource's methods still run the code of the generation that created the resource. Therefore, prefer resources
 * that contain only data. Change the key when the resource's type changes.
 *
 * @throws if the generation is already closed
 * @param dispose disposes of the resource; called after the `onClose` hooks of the last generation that kept the
 *   resource. The functions that earlier generations passed are not called
 */
export type Keep = <T>(key: string, create: () => T, dispose?: (resource: T) => void | Promise<void>) => T

interface Handle { readonly resource: unknown }

interface Entry {
  /** All generations that keep the resource share the same handle. */
  readonly handle: Handle
  readonly dispose: (() => void | Promise<void>) | undefined
}

/** The resources that one generation of a feature has created or taken over with `keep`. */
export interface KeptResources {
  readonly keep: Keep
  find (key: string): Handle | undefined
  /** True if this generation keeps the resource under any key. */
  has (handle: Handle): boolean
  /**
   * Disposes of the resources in the reverse order of the `keep` calls. Failures and timeouts are logged.
   *
   * @param heir the resources of the next generation, which must not be disposed of
   */
  dispose (heir?: KeptResources): Promise<void>
}

/** Timeout of `dispose`, in milliseconds. */
const disposeMs = 10_000

/**
 * @param previous returns the resources of the generation that is in service, so that the new generation can take them
 *   over
 */
export function createKeptResources (log: FastifyBaseLogger, previous: () => KeptResources | undefined = () => undefined): KeptResources {
  const entries = new Map<string, Entry>()
  let disposed = false

  return {
    keep<T> (key: string, create: () => T, dispose?: (resource: T) => void | Promise<void>): T {
      if (disposed) throw new Error(`app.keep('${key}') is not possible: the feature instance is closed`)
      const handle = entries.get(key)?.handle ?? previous()?.find(key) ?? { resource: create() }
      const resource = handle.resource as T
      if (!entries.has(key)) entries.set(key, { handle, dispose: dispose && (() => dispose(resource)) })
      return resource
    },
    find: (key) => entries.get(key)?.handle,
    has: (handle) => entries.values().some((entry) => entry.handle === handle),
    async dispose (heir) {
      disposed = true
      for (const [key, { handle, dispose }] of [...entries].reverse()) {
        if (!dispose || heir?.has(handle) === true) continue
        try {
          await withTimeout(Promise.try(dispose), disposeMs, () => { throw new Error(`dispose timed out after ${disposeMs / 1000} s`) })
        } catch (err) {
          log.error({ err, key }, 'failed to dispose of a kept resource')
        }
      }
      entries.clear()
    }
  }
}
