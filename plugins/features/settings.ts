import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { unavailable } from '../errors/codes.ts'
import type { Namespace } from '../kv/kv.ts'

/** The settings that admins have changed for one feature. */
const setting = z.object({
  /** Increases with each change, so that a server detects settings that it has not applied yet. Never reused. */
  revision: z.int(),
  enabled: z.boolean().optional(),
  config: z.record(z.string(), z.unknown()).optional(),
  /** Number of times that an admin has reloaded the feature. */
  reloads: z.int().optional()
})
export type FeatureSetting = z.output<typeof setting>

const document = z.record(z.string(), setting)
/** The settings of all features, by feature name. */
export type FeatureSettings = Readonly<Record<string, FeatureSetting>>

/** The key under which rescans are recorded, in place of a feature's name. */
export const everyFeature = '*'

/** The settings of a feature that no admin has changed. */
export const nothingSet: FeatureSetting = { revision: 0 }

/** Computes a feature's new setting from the current one. */
export type SettingChange = (now: FeatureSetting) => Omit<FeatureSetting, 'revision'>

/**
 * The cluster-wide settings: one value in the store, changed by compare-and-set. Each server reads the
 * value at startup, after each notification, and periodically.
 */
export interface SettingsStore {
  /** @throws UNAVAILABLE */
  read (): Promise<FeatureSettings>
  /**
   * Changes several settings atomically. Each changed setting gets a new revision.
   *
   * @param known the settings that this server has read before. If the store has lost these settings, they are restored
   * @param check receives all new settings; throws to reject them
   * @returns all resulting settings
   * @throws UNAVAILABLE, and any error that `check` throws; in both cases, no setting changes
   */
  change (known: FeatureSettings, changes: Readonly<Record<string, SettingChange>>, check?: (settings: FeatureSettings) => void): Promise<FeatureSettings>
  /**
   * Restores settings that the store has lost. If the store has a setting for the same feature, the newer of the two
   * settings wins.
   *
   * @returns all resulting settings
   */
  restore (known: FeatureSettings): Promise<FeatureSettings>
}

/** @returns for each feature, the setting that has the higher revision */
export function newest (one: FeatureSettings, other: FeatureSettings): FeatureSettings {
  const all = { ...one }
  for (const [name, setting] of Object.entries(other)) if (setting.revision > (all[name]?.revision ?? 0)) all[name] = setting
  return all
}

const key = 'settings'
const mostTries = 20

export function createSettings (values: Pick<Namespace, 'get' | 'compareAndSet'>): SettingsStore {
  const parse = (text: string | undefined): FeatureSettings => text === undefined ? {} : document.parse(JSON.parse(text))

  async function swap (next: (settings: FeatureSettings) => FeatureSettings): Promise<FeatureSettings> {
    for (let tries = 0; tries < mostTries; tries++) {
      const text = await values.get(key)
      const settings = next(parse(text))
      if (await values.compareAndSet(key, text, JSON.stringify(settings))) return settings
    }
    throw unavailable('Too many concurrent changes to the feature settings')
  }

  return {
    read: async () => parse(await values.get(key)),
    change: (known, changes, check) => swap((settings) => {
      const next = { ...newest(settings, known) }
      for (const [name, change] of Object.entries(changes)) {
        const now = next[name] ?? nothingSet
        // Revisions are based on the clock, so that they increase even if the store has lost the latest settings.
        next[name] = { ...change(now), revision: Math.max(Date.now(), now.revision + 1) }
      }
      check?.(next)
      return next
    }),
    restore: (known) => swap((settings) => newest(settings, known))
  }
}

/** The cluster-wide settings, as last read by this server. */
export interface DesiredState {
  settingOf (name: string): FeatureSetting
  /**
   * Whether a feature should run according to the settings in `all`. Default: the settings that this server last read.
   */
  isWanted (name: string, all?: FeatureSettings): boolean
  /** A feature's desired version; see {@link FeatureTarget}. */
  versionOf (name: string, setting?: Partial<FeatureSetting>): unknown
  /** The revision of the last requested rescan. */
  rescanned (): number
  /**
   * Reads the settings, and restores settings that the store has lost.
   *
   * @throws UNAVAILABLE
   */
  read (): Promise<void>
  /**
   * Changes the cluster-wide settings and notifies the other servers.
   *
   * @param check receives all new settings; throws to reject them
   * @returns the names of the features whose settings no other server changed at the same time
   * @throws UNAVAILABLE, and any error that `check` throws
   */
  set (changes: Readonly<Record<string, SettingChange>>, check?: (all: FeatureSettings) => void): Promise<string[]>
}

/**
 * @param isOn whether a feature runs if no admin has enabled or disabled it
 * @param notify tells the other servers to read the settings again
 */
export function createDesiredState (settings: SettingsStore, isOn: (name: string) => boolean, notify: () => void): DesiredState {
  let latest: FeatureSettings = {}
  const settingOf = (name: string) => latest[name] ?? nothingSet

  return {
    settingOf,
    isWanted: (name, all = latest) => all[name]?.enabled ?? isOn(name),
    versionOf (name, setting = {}) {
      const { config = {}, reloads = 0 } = { ...settingOf(name), ...setting }
      return { config, reloads }
    },
    rescanned: () => settingOf(everyFeature).revision,
    async read () {
      const stored = await settings.read()
      const isLost = Object.entries(latest).some(([name, { revision }]) => revision > (stored[name] ?? nothingSet).revision)
      // Until the lost settings are restored, this server may be the only one that still knows them.
      latest = isLost ? await settings.restore(latest) : stored
    },
    async set (changes, check) {
      const expected = Object.entries(changes).map(([name, change]) => [name, { ...change(settingOf(name)), revision: 0 }] as const)
      // Merge the stored settings into the known ones instead of replacing them, because the store may have lost
      // settings.
      latest = newest(latest, await settings.change(latest, changes, check))
      notify()
      return expected.filter(([name, setting]) => isDeepStrictEqual({ ...settingOf(name), revision: 0 }, setting)).map(([name]) => name)
    }
  }
}

export const switchAll = (names: readonly string[], enabled: boolean): Record<string, SettingChange> =>
  Object.fromEntries(names.map((name) => [name, (now: FeatureSetting) => ({ ...now, enabled })]))
