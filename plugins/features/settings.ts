import { z } from 'zod'
import { unavailable } from '../errors/codes.ts'
import type { Namespace } from '../kv/kv.ts'

/** What an admin has set of a feature while servers run. */
const setting = z.object({
  /** Grows with each change, and is never that of an earlier one: a server that has not followed it sees that. */
  revision: z.int(),
  enabled: z.boolean().optional(),
  config: z.record(z.string(), z.unknown()).optional(),
  /** How often it was reloaded. */
  reloads: z.int().optional()
})
export type FeatureSetting = z.output<typeof setting>

const document = z.record(z.string(), setting)
/** By name of the feature. */
export type FeatureSettings = Readonly<Record<string, FeatureSetting>>

/** In the place of a feature's name: all of them, to look for new ones. */
export const everyFeature = '*'

/** What nobody has ever set. */
export const nothingSet: FeatureSetting = { revision: 0 }

/** How a setting is to change: from what it is now, whoever changed it last. */
export type SettingChange = (now: FeatureSetting) => Omit<FeatureSetting, 'revision'>

/**
 * The settings of all servers: one text in the store, changed by
 * compare-and-set, which a server reads when it starts, whenever it is told,
 * and now and then.
 */
export interface SettingsStore {
  /** @throws UNAVAILABLE */
  read (): Promise<FeatureSettings>
  /**
   * Changes several at once. Each gets a new revision.
   *
   * @param check gets all settings as they are to be; throws where they must not be
   * @returns all settings as they are then
   * @throws UNAVAILABLE, and what `check` throws; then nothing is changed
   */
  change (changes: Readonly<Record<string, SettingChange>>, check?: (settings: FeatureSettings) => void): Promise<FeatureSettings>
  /**
   * Puts back what the store has lost: of each feature the newest of what it has and what is given.
   *
   * @returns all settings as they are then
   */
  restore (known: FeatureSettings): Promise<FeatureSettings>
}

/** @returns of each feature the newest of two views */
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
    change: (changes, check) => swap((settings) => {
      const next = { ...settings }
      for (const [name, change] of Object.entries(changes)) {
        const now = settings[name] ?? nothingSet
        // By the clock: also where the store has forgotten the last one.
        next[name] = { ...change(now), revision: Math.max(Date.now(), now.revision + 1) }
      }
      check?.(next)
      return next
    }),
    restore: (known) => swap((settings) => newest(settings, known))
  }
}
