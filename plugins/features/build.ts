import type { FastifyInstance } from 'fastify'
import { checkRoute } from '../gate/gate.ts'
import type { FeatureModule } from './discovery.ts'
import { loadFailed } from './failure.ts'
import { buildGeneration } from './generation.ts'
import type { Generation } from './generation.ts'
import type { Registry } from './registry.ts'
import { createRouter } from './router.ts'

/** A feature to build. */
export interface Prepared {
  name: string
  module: FeatureModule
  /** The settings, parsed by the feature's schema. */
  config: Record<string, unknown>
  /** The target that it is built for ({@link FeatureTarget}). */
  version: unknown
}

/**
 * Builds the next generation of a feature; it is not in service yet.
 *
 * @param pending generations that are built and go into service together with it
 * @throws FEATURE_LOAD_FAILED
 */
export async function buildNext (app: FastifyInstance, registry: Registry, { name, module, config }: Prepared, pending: ReadonlyMap<string, Generation>): Promise<Generation> {
  const { running, serving } = registry
  const find = (other: string) => pending.get(other) ?? running(other)
  // Emptied when it is built: a generation must not hold on to others of its time.
  let others = [...serving().filter((other) => other.name !== name && !pending.has(other.name)), ...pending.values()]
  let probe = createRouter(others)
  try {
    const generation = await buildGeneration(app, {
      name,
      number: registry.numberOf(name),
      module,
      config,
      previouslyKept: () => running(name)?.kept,
      getFeature: (other) => find(other)?.app as unknown as Record<string, unknown> | undefined,
      provided: (other) => find(other)?.provides,
      claimMessage (type) {
        const owner = app.messages.ownerOf(type) ?? others.find(({ table }) => table.routes.some((route) => route.type === type))?.name
        if (owner !== undefined && owner !== name) throw new Error(`The message type ${type} belongs to ${owner}`)
      },
      pathOwners: () => [app.gate.kernel(), ...others],
      claimRoute (method, url) {
        const owner = app.hasRoute({ method: method as 'GET', url }) ? 'the server itself' : others.find(({ routes }) => routes.some((route) => route.method === method && route.url === url))?.name
        if (owner !== undefined) throw new Error(`The route ${method} ${url} belongs to ${owner}`)
        checkRoute(url, others)
        probe.add(method, url, undefined)
      },
      checkProvided (decorators) {
        const missing = missingDecorators(registry, name, decorators)
        if (missing.length > 0) throw new Error(missing.join(', '))
      }
    })
    registry.built(name, 'ok')
    return generation
  } catch (error) {
    registry.built(name, 'failed')
    throw loadFailed(registry.get(name).found, error)
  } finally {
    others = []
    probe = createRouter([])
  }
}

/** What dependents that run need and the new generation no longer provides. */
function missingDecorators ({ running, serving }: Registry, name: string, provides: readonly string[]): string[] {
  const before = running(name)?.provides ?? []
  return serving().filter(({ module }) => module.dependencies.includes(name)).flatMap((dependent) =>
    dependent.module.decorators
      .filter((decorator) => before.includes(decorator) && !provides.includes(decorator))
      .map((decorator) => `${dependent.name} needs app.${decorator}`))
}
