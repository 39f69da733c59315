import { isDeepStrictEqual } from 'node:util'
import { everyFeature, newest, nothingSet } from './settings.ts'
import type { FeatureSetting, FeatureSettings, SettingChange, SettingsStore } from './settings.ts'

/** The settings of all servers, as last read by this server. */
export interface DesiredState {
  settingOf (name: string): FeatureSetting
  /** Whether a feature should run, by these or the given settings. */
  isWanted (name: string, all?: FeatureSettings): boolean
  /** The target to build a feature for. */
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
   * Changes the settings of all servers, and notifies them.
   *
   * @param check receives all new settings; throws to reject them
   * @returns the names of the features whose settings had no concurrent change
   * @throws UNAVAILABLE, and what `check` throws
   */
  set (changes: Readonly<Record<string, SettingChange>>, check?: (all: FeatureSettings) => void): Promise<string[]>
}

/**
 * @param isOn whether a feature runs by default, without an admin's setting
 * @param notify makes the other servers read the settings
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
      const before = latest
      latest = await settings.read()
      if (Object.entries(before).some(([name, { revision }]) => revision > settingOf(name).revision)) latest = await settings.restore(before)
    },
    async set (changes, check) {
      const expected = Object.entries(changes).map(([name, change]) => [name, { ...change(settingOf(name)), revision: 0 }] as const)
      // Merge, do not replace: the store may have lost settings.
      latest = newest(latest, await settings.change(changes, check))
      notify()
      return expected.filter(([name, setting]) => isDeepStrictEqual({ ...settingOf(name), revision: 0 }, setting)).map(([name]) => name)
    }
  }
}

export const switchAll = (names: readonly string[], enabled: boolean): Record<string, SettingChange> =>
  Object.fromEntries(names.map((name) => [name, (now: FeatureSetting) => ({ ...now, enabled })]))
