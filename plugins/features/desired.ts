import { isDeepStrictEqual } from 'node:util'
import { everyFeature, newest, nothingSet } from './settings.ts'
import type { FeatureSetting, FeatureSettings, SettingChange, SettingsStore } from './settings.ts'

/** The settings of all servers, as this server has seen them last. */
export interface DesiredState {
  settingOf (name: string): FeatureSetting
  /** Whether a feature should run, by these settings or by those that are given. */
  isWanted (name: string, all?: FeatureSettings): boolean
  /** What a feature is built for. */
  versionOf (name: string, setting?: Partial<FeatureSetting>): unknown
  /** The revision of the last rescan that a server has asked for. */
  rescanned (): number
  /**
   * Reads the settings, and restores those that the store has lost.
   *
   * @throws UNAVAILABLE
   */
  read (): Promise<void>
  /**
   * Changes the settings of all servers, and notifies them.
   *
   * @param check gets all settings as they are to be; throws where they must not be
   * @returns the names of those that are now as this server expected: nobody else has changed them besides
   * @throws UNAVAILABLE, and what `check` throws
   */
  set (changes: Readonly<Record<string, SettingChange>>, check?: (all: FeatureSettings) => void): Promise<string[]>
}

/**
 * @param isOn whether a feature runs where no admin has said so
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
      // Not instead of what is known: the store may have lost that.
      latest = newest(latest, await settings.change(changes, check))
      notify()
      return expected.filter(([name, setting]) => isDeepStrictEqual({ ...settingOf(name), revision: 0 }, setting)).map(([name]) => name)
    }
  }
}

export const switchAll = (names: readonly string[], enabled: boolean): Record<string, SettingChange> =>
  Object.fromEntries(names.map((name) => [name, (now: FeatureSetting) => ({ ...now, enabled })]))
