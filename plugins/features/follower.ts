import type { Prepared } from './apply.ts'
import type { FeatureModule } from './discovery.ts'
import { dependencyDisabled, mayPass } from './errors.ts'
import type { LoaderOptions, Transitions } from './loader.ts'
import { dependentsOf, isStale, plan } from './plan.ts'
import type { FeatureTarget } from './plan.ts'
import { everyFeature, nothingSet } from './settings.ts'

export interface Rescan {
  added: string[]
  removed: string[]
  /** Error messages, by feature name. */
  failed: Record<string, string>
}

/** Updates the features on this server when their files or the cluster-wide settings change. */
export function createFollower ({ registry, desired, find, log }: LoaderOptions, { prepare, make, makeEach, attempt, follow }: Transitions) {
  const { known, get, running, targets } = registry
  const { isWanted, settingOf } = desired
  /**
   * The last import of each feature by this follower: the dependencies of the code, and the revision of the settings at
   * that time.
   */
  const imported = new Map<string, { dependencies: readonly string[], revision: number }>()
  let rescanned = 0
  /** The feature whose generation is being replaced after a fault. */
  let restarting: string | undefined

  async function importCode (name: string, fresh?: boolean): Promise<FeatureModule> {
    const module = await registry.importCode(name, fresh)
    imported.set(name, { dependencies: module.dependencies, revision: settingOf(name).revision })
    return module
  }

  /**
   * Returns the features that were imported for their current settings, but still lack a dependency. Such features must
   * not be imported again at each look at the settings, because Node never frees imported code.
   */
  function lacking (names: readonly string[]): Set<string> {
    const now = targets()
    const next = new Map<string, FeatureTarget>(now)
    for (const name of names) {
      const last = imported.get(name)
      const dependencies = last?.revision === settingOf(name).revision ? last.dependencies : []
      next.set(name, { dependencies, version: Symbol(name) })
    }
    const { refused } = plan(now, next, (name) => known.has(name))
    return new Set([...refused].filter(([, { because }]) => because === 'dependency').map(([name]) => name))
  }

  /** Imports features and builds those that should run. Failures are recorded per feature. */
  async function loadAll (names: readonly string[], fresh: boolean): Promise<void> {
    const load: Prepared[] = []
    for (const name of names) {
      await attempt(name, async () => {
        const module = await importCode(name, fresh)
        if (isWanted(name)) load.push(prepare(name, module))
        else await make({ unload: [name] })
      })
    }
    await makeEach({ load })
  }

  /** The features that should run, but could not be loaded because a dependency was not running. */
  const held = () => [...known].filter(([name, { generation, error }]) => !generation && isWanted(name) && mayPass(error)).map(([name]) => name)

  /** Loads features, except those that still lack a dependency. */
  async function loadPossible (names: readonly string[]): Promise<void> {
    const waiting = lacking(names)
    await loadAll(names.filter((name) => !waiting.has(name)), true)
  }

  const loadHeld = () => loadPossible(held())

  async function rescanHere (): Promise<Rescan> {
    const found = new Map(find().map((one) => [one.name, one]))
    const gone = [...known.keys()].filter((name) => !found.has(name))
    const added = [...found.values()].filter(({ name }) => !known.has(name))
    const moved = [...found.values()].filter(({ name, entry }) => known.has(name) && get(name).found.entry !== entry)
    const result: Rescan = { added: added.map(({ name }) => name), removed: [], failed: {} }

    const { unload, refused } = await makeEach({ unload: gone })
    for (const name of unload) registry.forget(name)
    result.removed = unload
    for (const name of refused.keys()) result.failed[name] = get(name).error?.message ?? ''
    for (const one of added) known.set(one.name, { found: one, state: 'disabled', applied: nothingSet })
    for (const one of moved) get(one.name).found = one
    const names = [...added, ...moved].map(({ name }) => name)
    for (const name of names) follow(name)
    await loadAll(names, true)
    for (const name of names) {
      const { error } = get(name)
      if (error) result.failed[name] = error.message
      else log.info({ feature: name, generation: running(name)?.number }, running(name) ? 'feature loaded' : 'feature found; it is disabled')
    }
    for (const name of result.removed) log.info({ feature: name }, 'feature removed')
    return result
  }

  return {
    async start () {
      await desired.read()
      rescanned = desired.rescanned()
      for (const found of find()) known.set(found.name, { found, state: 'disabled', applied: nothingSet })
      const names = [...known.keys()]
      for (const name of names) follow(name)
      await loadAll(names, false)
    },

    async rescan () {
      // Ask the other servers first: if the settings cannot be written, nothing changes on this server either.
      await desired.set({ [everyFeature]: (now) => now })
      const result = await rescanHere()
      rescanned = desired.rescanned()
      await loadHeld()
      return result
    },

    async reconcile () {
      await desired.read()
      if (desired.rescanned() !== rescanned) {
        await rescanHere()
        rescanned = desired.rescanned()
      }
      const now = targets()
      const changed = [...known.keys()].filter((name) => settingOf(name).revision !== get(name).applied.revision)
      const off = changed.filter((name) => !isWanted(name))
      const stale = changed.filter((name) => isWanted(name) && isStale(now.get(name), { version: desired.versionOf(name) }))
      for (const name of changed) if (!off.includes(name) && !stale.includes(name)) follow(name)
      await makeEach({ unload: off })
      await loadPossible([...new Set([...stale, ...held()])])
    },

    loadHeld,

    async restart (name: string, generation: number) {
      if (running(name)?.number !== generation) return
      await attempt(name, async () => {
        restarting = name
        try {
          await make({ load: [prepare(name, await importCode(name))] })
        } finally {
          restarting = undefined
        }
        log.warn({ feature: name, generation: running(name)?.number }, 'the generation of a faulty feature was replaced')
      })
    },

    isRestarting: (name: string) => restarting === name,

    async takeOut (name: string, reason: Error) {
      if (!running(name)) return
      if (name === 'auth') return registry.suspend(name, reason)
      const dependents = dependentsOf(name, new Map([...targets()].map(([other, { dependencies }]) => [other, dependencies])))
      await make({
        unload: [...dependents, name],
        // Record the failures at once: while `auth` counts as disabled, a server that allows anonymous access admits
        // everyone.
        changed () {
          registry.faulty(name, reason)
          for (const dependent of dependents) registry.failed(dependent, dependencyDisabled(dependent, [name]), true)
        }
      })
    },

    async touched (names: readonly string[]) {
      const entryOf = (name: string) => known.get(name)?.found.entry
      const before = new Map(names.map((name) => [name, entryOf(name)]))
      const found = find()
      if (found.length !== known.size || found.some(({ name, entry }) => entryOf(name) !== entry) || names.some((name) => !known.has(name))) await rescanHere()
      // The rescan has already loaded the features whose index file is new.
      for (const name of names.filter((one) => known.has(one) && entryOf(one) === before.get(one))) {
        if (!isWanted(name)) {
          log.warn({ feature: name }, 'the files of a disabled feature changed; the server loads them when an admin enables the feature')
          continue
        }
        await attempt(name, async () => {
          const { enabled } = await make({ load: [prepare(name, await importCode(name))] })
          log.info({ feature: name, generation: running(name)?.number }, enabled.length > 0 ? 'feature loaded' : 'feature reloaded')
        })
      }
      await loadHeld()
    }
  }
}
