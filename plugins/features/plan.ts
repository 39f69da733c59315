import { isDeepStrictEqual } from 'node:util'

/** A feature's running or desired version, and the dependencies of that version. */
export interface FeatureTarget {
  /** The features that the feature's code depends on. They may include features that are not installed. */
  dependencies: readonly string[]
  /**
   * A value that depends on the feature's settings and number of reloads. If the desired version differs from the
   * running version, the loader rebuilds the feature.
   */
  version: unknown
}

export type FeatureTargets = ReadonlyMap<string, FeatureTarget>

/** Why a change to a feature is refused. */
export type Refusal =
  /** Other running features depend on the feature. */
  | { because: 'in use', dependents: string[] }
  /** The feature depends on features that are not running. */
  | { because: 'dependency', dependencies: string[] }
  | { because: 'circular' }

export interface Plan {
  /** The features to build. In this list, each feature comes after its dependencies. */
  load: string[]
  /** The features to take out of service. In this list, each feature comes before its dependencies. */
  unload: string[]
  refused: Map<string, Refusal>
}

type Graph = ReadonlyMap<string, readonly string[]>

/**
 * Plans which features to load and unload, so that the desired features run.
 *
 * @param isFeature returns true if a dependency is an installed feature
 */
export function plan (running: FeatureTargets, desired: FeatureTargets, isFeature: (name: string) => boolean): Plan {
  const refused = new Map<string, Refusal>()
  const runningGraph = graphOf(running)
  const order = inOrder(runningGraph)

  const unload: string[] = []
  for (const name of [...order].reverse()) {
    if (desired.has(name)) continue
    const dependents = dependentsOf(name, runningGraph).filter((other) => !unload.includes(other))
    if (dependents.length > 0) refused.set(name, { because: 'in use', dependents })
    else unload.push(name)
  }

  const stays = new Set(order.filter((name) => !unload.includes(name)))
  const wanted = new Map([...desired].filter(([name, target]) => isStale(running.get(name), target)))
  const nextGraph = graphOf(new Map([...[...running].filter(([name]) => stays.has(name)), ...wanted]))
  const load: string[] = []
  for (const name of inOrder(graphOf(wanted))) {
    const { dependencies } = wanted.get(name) as FeatureTarget
    const missing = dependencies.filter((other) => isFeature(other) && !stays.has(other) && !load.includes(other))
    if (requiredBy(name, nextGraph).has(name)) refused.set(name, { because: 'circular' })
    else if (missing.length > 0) refused.set(name, { because: 'dependency', dependencies: missing })
    else load.push(name)
  }
  return { load, unload, refused }
}

/** True if the loader must build the feature, because it is not running or runs in a different version. */
export const isStale = (runs: FeatureTarget | undefined, target: Pick<FeatureTarget, 'version'>): boolean => !runs || !isDeepStrictEqual(runs.version, target.version)

/**
 * @returns the direct and indirect dependents of a feature; each dependent comes before the features that it depends on
 */
export function dependentsOf (name: string, dependencies: Graph): string[] {
  return inOrder(dependencies).filter((other) => other !== name && requiredBy(other, dependencies).has(name)).reverse()
}

const graphOf = (targets: FeatureTargets): Graph => new Map([...targets].map(([name, { dependencies }]) => [name, dependencies]))

/**
 * A feature's direct and indirect dependencies. The set includes the feature itself if the dependencies are circular.
 */
function requiredBy (name: string, graph: Graph): Set<string> {
  const found = new Set(graph.get(name))
  // The outer loop also visits the items that are added to the set during the loop.
  for (const other of found) for (const next of graph.get(other) ?? []) found.add(next)
  return found
}

/**
 * Sorts features so that each comes after its dependencies. Features with circular dependencies, and
 * their dependents, come last.
 */
function inOrder (graph: Graph): string[] {
  const order: string[] = []
  const left = new Map([...graph].map(([name, on]) => [name, on.filter((other) => graph.has(other))]))
  for (;;) {
    const free = [...left].filter(([, on]) => on.every((other) => !left.has(other))).map(([name]) => name)
    if (free.length === 0) return [...order, ...left.keys()]
    for (const name of free) {
      order.push(name)
      left.delete(name)
    }
  }
}

/**
 * Selects the features to run: the defaults for development, test or production, as modified by `FEATURES`.
 *
 * @param known names of all installed features
 * @param defaults by feature name, whether the feature runs by default; a feature that is not listed runs
 * @param wanted the items of FEATURES: the features to run instead of the defaults, and the features to exclude, which
 *   have a leading `-`
 */
export function chooseFeatures (known: readonly string[], defaults: Readonly<Record<string, boolean>>, wanted: readonly string[]): { on: Set<string>, unknown: string[] } {
  const without = new Set(wanted.filter((name) => name.startsWith('-')).map((name) => name.slice(1)))
  const only = wanted.filter((name) => !name.startsWith('-'))
  const start = only.length ? only.filter((name) => known.includes(name)) : known.filter((name) => defaults[name] ?? true)
  return {
    on: new Set(start.filter((name) => !without.has(name))),
    unknown: [...only, ...without].filter((name) => !known.includes(name))
  }
}
