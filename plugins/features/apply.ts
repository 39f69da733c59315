import type { FastifyInstance } from 'fastify'
import findMyWay from 'find-my-way'
import type { HTTPMethod } from 'find-my-way'
import { routerOptions } from '../../config/router.ts'
import { unavailable } from '../errors/codes.ts'
import { fieldConflicts } from '../dispatch/fields.ts'
import { messageTable } from '../dispatch/routes.ts'
import { checkRoute } from '../gate/gate.ts'
import type { FeatureModule } from './discovery.ts'
import { loadFailed } from './errors.ts'
import { buildGeneration, closeGeneration } from './generation.ts'
import type { Generation } from './generation.ts'
import { plan } from './plan.ts'
import type { Registry } from './registry.ts'
import type { Supervisor } from './supervisor.ts'

/** Names of the features that a change enabled and disabled, in the order in which they changed. */
export interface Changed {
  enabled: string[]
  disabled: string[]
}

export interface Change {
  /** The features to build, in the order of the plan. */
  load?: readonly Prepared[]
  /** The features to take out of service, in the order of the plan. */
  unload?: readonly string[]
  /** Persists the change before the new generations go into service. If `commit` throws, nothing changes. */
  commit?: (() => Promise<void>) | undefined
  /** Called as soon as the change is in effect, before the old generations finish their in-flight calls. */
  changed?: (() => void) | undefined
}

/** Carries out a plan: builds new generations of features, and takes features out of service. */
export interface Executor {
  /**
   * Finds the running feature generation that handles an HTTP request. Called only if the request matches no kernel
   * route.
   */
  find (method: string, url: string): Generation | undefined
  /**
   * Builds the new generations, calls `commit`, and puts the new generations into service atomically. Then waits for
   * the in-flight calls of the old generations, and closes the old generations. If anything fails before the new
   * generations are in service, nothing changes.
   *
   * @throws FEATURE_LOAD_FAILED, and any error that `commit` throws
   */
  apply (change: Change): Promise<Changed>
  /** Closes all features, dependents first. */
  stop (): Promise<void>
}

/**
 * Maximum wait for a feature's in-flight calls during shutdown, in milliseconds. By that time, all clients are already
 * disconnected.
 */
const stopMs = 3000

export function createExecutor (app: FastifyInstance, registry: Registry, supervisor: Supervisor): Executor {
  const { hooks, log, metrics, registrations, sockets } = app
  const { get, running, serving } = registry
  const drainMs = app.config.FEATURES_DRAIN_SECONDS * 1000
  const loadTime = metrics.histogram('flylive_feature_load_seconds', 'Time from the start of a load until the new feature generation handles requests', ['feature'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])
  /**
   * The router for the HTTP routes of features; undefined while outdated, until the next request rebuilds the router.
   */
  let router: FeatureRouter | undefined = createRouter([])

  async function build (load: readonly Prepared[], claims: Claims, commit: Change['commit']): Promise<Generation[]> {
    const built = new Map<string, Generation>()
    try {
      for (const prepared of load) built.set(prepared.name, await buildNext(app, { registry, supervisor, claims }, prepared, built))
      await commit?.()
      return [...built.values()]
    } catch (error) {
      release(claims)
      for (const generation of [...built.values()].reverse()) await close(generation)
      throw error
    } finally {
      // From now on, features look up each other's generations in the registry.
      built.clear()
    }
  }

  function install (generation: Generation, version: unknown): void {
    const { name } = generation
    const isNew = !running(name)
    registry.started(generation, version)
    // The handlers of a newly enabled feature come after those of the features that are already running.
    if (isNew) registrations.install(name, undefined)
    registrations.install(name, generation.registrations)
    if (isNew) {
      hooks.emit('feature:enabled', name)
      sockets.broadcast('feature:enabled', { name })
    }
    hooks.emit('feature:loaded', name)
  }

  function withdraw (name: string): void {
    const wasRunning = running(name) !== undefined
    // Emit the hook before the handlers are removed, so that the handlers can release the feature's resources.
    if (wasRunning) hooks.emit('feature:disabled', name)
    registry.stopped(name)
    if (wasRunning) sockets.broadcast('feature:disabled', { name })
  }

  /** Waits for a generation's in-flight calls, then closes the generation. */
  async function retire (generation: Generation, waitMs = drainMs): Promise<void> {
    const { name, calls } = generation
    const deadline = setTimeout(() => {
      log.warn({ feature: name, calls: calls.running }, 'cancelled the in-flight calls of a reloaded or disabled feature')
      calls.end(unavailable(`The feature ${name} was reloaded or disabled during the request`))
    }, waitMs)
    await calls.idle()
    clearTimeout(deadline)
    await close(generation)
  }

  const close = (generation: Generation) => closeGeneration(app, generation, () => running(generation.name)?.kept)

  return {
    find (method, url) {
      router ??= createRouter(serving())
      const name = router.find(method, url)
      return name === undefined ? undefined : running(name)
    },
    async apply ({ load = [], unload = [], commit, changed }) {
      const begin = performance.now()
      const names = new Set(load.map(({ name }) => name))
      const kept = serving().filter(({ name }) => !names.has(name))
      // New features can add their routes to the current router, because `find` ignores features that are not running
      // yet.
      const claims: Claims = { router: kept.length === serving().length ? router : undefined, kept }
      router = undefined
      const next = await build(load, claims, commit)
      const extended = claims.router
      release(claims)
      const before = new Map(serving().map((generation) => [generation.name, generation]))
      for (const name of unload) withdraw(name)
      next.forEach((generation, index) => install(generation, load[index]?.version))
      router = unload.length === 0 ? extended : undefined
      changed?.()
      for (const { name } of next) loadTime.observe({ feature: name }, (performance.now() - begin) / 1000)
      await Promise.all([...unload, ...next.map(({ name }) => name)].map((name) => before.get(name)).filter((old) => old !== undefined).map((old) => retire(old)))
      return { enabled: next.map(({ name }) => name).filter((name) => !before.has(name)), disabled: unload.filter((name) => before.has(name)) }
    },
    async stop () {
      for (const name of plan(registry.targets(), new Map(), (other) => registry.known.has(other)).unload) {
        const generation = running(name)
        // A stopping server answers other servers until the generation is closed.
        generation?.registrations.retain('clusterMessage', 'clusterRequest')
        delete get(name).generation
        if (generation) await retire(generation, Math.min(drainMs, stopMs))
      }
    }
  }
}

export interface Prepared {
  name: string
  module: FeatureModule
  /** The settings, parsed by the feature's schema. */
  config: Record<string, unknown>
  /** The {@link FeatureTarget} version that the feature is built for. */
  version: unknown
}

/** The HTTP routes of the unchanged features, plus the routes that new generations claim. */
export interface Claims {
  /**
   * The current router if the change replaces no running generation. If the change replaces a running generation,
   * undefined until a new generation claims a route, because most features have no routes.
   */
  router: FeatureRouter | undefined
  /** The generations that the change does not replace. */
  kept: readonly Generation[]
}

/** Empties the claims after the build, so that the new generations hold no references to other generations. */
function release (claims: Claims): void {
  claims.router = undefined
  claims.kept = []
}

/**
 * Builds the next generation of a feature without putting it into service.
 *
 * @param claims the HTTP routes of the unchanged features and of the `pending` generations
 * @param pending generations of other features that will go into service at the same time
 * @throws FEATURE_LOAD_FAILED
 */
export async function buildNext (app: FastifyInstance, { registry, supervisor, claims }: { registry: Registry, supervisor: Supervisor, claims: Claims }, { name, module, config }: Prepared, pending: ReadonlyMap<string, Generation>): Promise<Generation> {
  const { running, serving } = registry
  const find = (other: string) => pending.get(other) ?? running(other)
  // Determined again on each call, because a running feature can still register messages and paths.
  const others = () => [...serving().filter((other) => other.name !== name && !pending.has(other.name)), ...pending.values()]
  try {
    const number = registry.numberOf(name)
    const supervision = supervisor.supervise(name, number)
    const generation = await supervision.enter('start', () => buildGeneration(app, {
      name,
      number,
      supervision,
      module,
      config,
      previouslyKept: () => running(name)?.kept,
      getFeature: (other) => find(other)?.app as unknown as Record<string, unknown> | undefined,
      provided: (other) => find(other)?.provides,
      claimMessage (type) {
        const owner = app.registrations.inService('message').get(type)?.[0]?.owner ?? others().find(({ registrations }) => registrations.has('message', type))?.name
        if (owner !== undefined && owner !== name) throw new Error(`The message type ${type} belongs to ${owner}`)
      },
      checkFields (table) {
        const tables = [app.registrations.kernel, ...others().map(({ registrations }) => registrations)].map((registrations) => ({ ...messageTable(registrations), owner: registrations.owner }))
        const conflicts = fieldConflicts(table, tables)
        if (conflicts.length > 0) throw new Error(conflicts.join(', '))
      },
      pathOwners: () => [app.gate.kernel(), ...others()],
      claimRoute (method, url) {
        if (isKernelRoute(app, method, url)) throw kernelRoute(method, url)
        const owner = others().find(({ routes }) => routes.some((route) => route.method === method && route.url === url))?.name
        if (owner !== undefined) throw new Error(`The route ${method} ${url} belongs to ${owner}`)
        checkRoute(url, others())
        claims.router ??= createRouter(claims.kept)
        claims.router.add(method, url, name)
      },
      checkProvided (decorators) {
        const missing = missingDecorators(registry, name, decorators)
        if (missing.length > 0) throw new Error(missing.join(', '))
      }
    }))
    registry.built(name, 'ok')
    return generation
  } catch (error) {
    registry.built(name, 'failed')
    throw loadFailed(registry.get(name).found, error)
  }
}

const kernelRoute = (method: string, url: string) => new Error(`The route ${method} ${url} belongs to the server itself`)

/**
 * Finds the features that have registered a route of the kernel. Call this after the kernel has registered its routes:
 * below /admin, {@link buildNext} cannot detect such a conflict earlier.
 *
 * @returns the error of each of these features, by feature name
 */
export function findKernelRoutes (app: FastifyInstance, { serving }: Registry): Map<string, Error> {
  return new Map(serving().flatMap(({ name, routes }) => {
    const route = routes.find(({ method, url }) => isKernelRoute(app, method, url))
    return route ? [[name, kernelRoute(route.method, route.url)] as const] : []
  }))
}

/**
 * Whether a route belongs to the kernel. When the features start, the kernel has not registered all its routes yet, but
 * it has reserved their URLs. Below /admin, it reserves no single URL, because features have routes there too.
 */
function isKernelRoute (app: FastifyInstance, method: string, url: string): boolean {
  return app.hasRoute({ method: method as 'GET', url }) || (!url.startsWith('/admin') && app.gate.kernel().routes.some((route) => route.url === url))
}

/**
 * @returns one error message per decorator that the new generation no longer provides, although a running dependent
 *   requires the decorator
 */
function missingDecorators ({ running, serving }: Registry, name: string, provides: readonly string[]): string[] {
  const before = running(name)?.provides ?? []
  return serving().filter(({ module }) => module.dependencies.includes(name)).flatMap((dependent) =>
    dependent.module.decorators
      .filter((decorator) => before.includes(decorator) && !provides.includes(decorator))
      .map((decorator) => `${dependent.name} requires app.${decorator}`))
}

/** The HTTP routes of features. */
export interface FeatureRouter {
  /** @returns the name of the feature that owns the route */
  find (method: string, url: string): string | undefined
  /** @throws if the route already exists */
  add (method: string, url: string, name: string): void
}

export function createRouter (generations: readonly Generation[]): FeatureRouter {
  const router = findMyWay({ ...routerOptions, ignoreTrailingSlash: false })
  const add: FeatureRouter['add'] = (method, url, name) => router.on(method as HTTPMethod, url, () => {}, name)
  for (const { name, routes } of generations) {
    for (const { method, url } of routes) add(method, url, name)
  }
  return {
    find: (method, url) => router.find(method as HTTPMethod, url.split('?')[0] ?? '/')?.store as string | undefined,
    add
  }
}
