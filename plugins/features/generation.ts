import Fastify, { LogController } from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import { trustProxyOption } from '../../config/addresses.ts'
import { bodyLimit, useJsonBodies } from '../../config/body.ts'
import { routerOptions } from '../../config/router.ts'
import { kernelNamespaces, namespaceKey } from '../kv/kv.ts'
import type { JobsRegistrar } from '../jobs/runner.ts'
import { NotFound } from '../errors/codes.ts'
import { frameworkErrors, useWireErrors } from '../errors/index.ts'
import { afterReading, withTimeout } from '../errors/timeout.ts'
import { schemaController } from '../schema/compilers.ts'
import type { HookCaller, HookEntry } from '../hooks.ts'
import type { Bus, BusHandler } from '../cluster/bus.ts'
import type { Link } from '../connections/link.ts'
import type { FeatureSockets } from '../connections/sockets.ts'
import { createInFlight, lateError } from '../dispatch/in-flight.ts'
import type { CallSupervision, InFlight } from '../dispatch/in-flight.ts'
import { createMessageRegistrar, messageTable } from '../dispatch/routes.ts'
import type { MessageTable } from '../dispatch/routes.ts'
import { createGateRegistrar } from '../gate/gate.ts'
import type { GateRegistrar, PathOwner } from '../gate/gate.ts'
import { Registrations } from '../registrations.ts'
import { madeBySchema } from './define.ts'
import type { FeatureModule } from './discovery.ts'
import { featureConfig } from '../config.ts'
import type { FeatureHookRegistrar, FeatureHooks, FeatureSurface } from './feature.ts'
import { createKeptResources } from './keep.ts'
import type { KeptResources } from './keep.ts'

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
  const messages = createMessageRegistrar(registrations, (type) => {
    claimMessage(type)
    if (!module.types.includes(type)) throw new Error(`The feature ${name} registers ${type}, which is missing from its exported requests`)
  })
  for (const type of module.types) registrations.add('exportedType', type, true)
  const gate = createGateRegistrar(registrations, pathOwners)
  const callHooks = kernel.hooks as unknown as HookCaller<FeatureHooks>
  const routes: { method: HTTPMethods, url: string, schema: unknown }[] = []

  useJsonBodies(app)
  useWireErrors(app)
  /** Wraps a message handler so that its failures are logged instead of thrown to the sender. */
  const receive: Receive = (call, handler) => (data) => {
    const failed = (err: unknown) => app.log.error({ err, call }, 'a message handler failed')
    try {
      const result: unknown = calls.run(() => handler(data), call)
      if (result instanceof Promise) result.catch(failed)
    } catch (err) {
      failed(err)
    }
  }
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
  app.addHook('onRequest', async (request, reply) => {
    const done = calls.begin((error) => fail(reply, error), routeName(request))
    // Fastify does not call the onResponse hook if the client disconnects.
    reply.raw.once('close', done)
  })
  // The deadline timer starts once the request has been read. The route must begin its response before the deadline.
  app.addHook('preHandler', async (request, reply) => {
    const { deadlineMs, late } = supervision
    const cancelTimer = afterReading(deadlineMs, () => {
      if (reply.sent || reply.raw.headersSent || reply.raw.destroyed) return
      late(routeName(request), deadlineMs, false)
      fail(reply, lateError(routeName(request), deadlineMs))
    })
    reply.raw.once('close', cancelTimer)
  })

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
    app.register(module.plugin, madeBySchema(config))
    await app.ready()
    checkFields(messageTable(registrations))
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

/** Waits until a feature's instance is closed, but not for `onClose` hooks that take too long or never end. */
export async function closeInTime ({ config, log }: FastifyInstance, name: string, closed: Promise<unknown>): Promise<void> {
  await withTimeout(closed, Math.max(config.FEATURES_DRAIN_SECONDS * 1000, 1000), () => {
    log.error({ feature: name }, "a feature's onClose timed out: its resources may leak")
  })
}

type Receive = <T>(call: string, handler: (data: T) => unknown) => (data: T) => void

/** The name of a route in logs and metrics, without parameter values. */
const routeName = ({ method, routeOptions }: FastifyRequest) => `route ${method} ${routeOptions.url ?? ''}`

/** Responds with an error, unless a response has begun. */
function fail (reply: FastifyReply, error: Error): void {
  if (!reply.sent && !reply.raw.headersSent) reply.send(error)
}

/** Wraps the handlers of the feature's paths, so that an error in a handler counts as a fault of the feature. */
function superviseGate (gate: GateRegistrar, { enter }: CallSupervision): GateRegistrar {
  return {
    http (prefix, handler, options) {
      gate.http(prefix, (request, response) => enter(`http ${prefix}`, () => handler(request, response)), options)
    },
    upgrade (path, options) {
      if (options.handle) {
        const { handle } = options
        return gate.upgrade(path, { ...options, handle: (request, socket, head) => enter(`upgrade ${path}`, () => handle(request, socket, head)) })
      }
      const { opened, receive, ...rest } = options
      gate.upgrade(path, {
        ...rest,
        ...(opened && { opened: (session) => enter(`connection ${path}`, () => opened(session)) }),
        ...(receive && { receive: (session, data, isBinary) => enter(`frame ${path}`, () => receive(session, data, isBinary)) })
      })
    }
  }
}

/** Wraps the callbacks and the links of the feature's sessions, so that their errors count as failures of the feature. */
function superviseSockets (sockets: FeatureSockets, { enter, failed }: CallSupervision): FeatureSockets {
  const counted = <T>(call: string, run: () => T): T => {
    try {
      return run()
    } catch (error) {
      failed(call, error, true)
      throw error
    }
  }
  const supervised = <A extends unknown[]>(call: string, callback: ((...args: A) => void) | undefined) =>
    callback && ((...args: A) => counted(call, () => enter(call, () => callback(...args))))
  const superviseLink = <F>(link: Link<F>): Link<F> => {
    const call = 'session link'
    return {
      get open () { return counted(call, () => link.open) },
      get queuedBytes () { return counted(call, () => link.queuedBytes) },
      bytesOf: (frame) => counted(call, () => link.bytesOf(frame)),
      write: (frame) => counted(call, () => link.write(frame)),
      close: (code, reason) => counted(call, () => link.close(code, reason)),
      terminate: () => counted(call, () => link.terminate())
    }
  }
  return {
    ...sockets,
    get size () {
      return sockets.size
    },
    open (options) {
      const onClose = supervised('session onClose', options.onClose)
      return sockets.open({
        ...options,
        ...(onClose && { onClose }),
        ...(options.link ? { link: superviseLink(options.link) } : { onEvent: supervised('session onEvent', options.onEvent) })
      } as typeof options)
    }
  }
}

/**
 * Wraps the handlers of the feature's subscriptions, so that an error in a handler counts as a failure of the feature.
 * When the generation closes, ends the remaining subscriptions, because a generation that fails to start may not have
 * registered its own `onClose` hook yet.
 */
function superviseBus (bus: Pick<Bus, 'publish' | 'subscribe' | 'unsubscribe'>, receive: Receive, onClose: (fn: () => Promise<void>) => void): FeatureSurface['bus'] {
  const handlers = new WeakMap<BusHandler, BusHandler>()
  const subscriptions = new Map<string, Set<BusHandler>>()
  onClose(async () => {
    await Promise.all([...subscriptions].flatMap(([channel, all]) => [...all].map(async (handler) => bus.unsubscribe(channel, handler))))
  })
  return {
    publish: (channel, message) => bus.publish(channel, message),
    subscribe (channel, handler) {
      const supervised = handlers.get(handler) ?? receive<string>('subscription', handler)
      handlers.set(handler, supervised)
      subscriptions.set(channel, (subscriptions.get(channel) ?? new Set()).add(supervised))
      return bus.subscribe(channel, supervised)
    },
    unsubscribe (channel, handler) {
      const supervised = handlers.get(handler) ?? handler
      const left = subscriptions.get(channel)
      left?.delete(supervised)
      if (left?.size === 0) subscriptions.delete(channel)
      return bus.unsubscribe(channel, supervised)
    }
  }
}
