import { z } from 'zod'
import { unavailable } from '../errors/codes.ts'
import type { Store } from '../store/store.ts'

/** What an admin has set of a feature while servers run. */
const setting = z.object({
  /** Grows with each change, a reload too: a server that has not applied it sees that. */
  revision: z.int(),
  enabled: z.boolean().optional(),
  config: z.record(z.string(), z.unknown()).optional()
})
export type FeatureSetting = z.output<typeof setting>

const document = z.record(z.string(), setting)
/** By name of the feature. */
export type FeatureSettings = Readonly<Record<string, FeatureSetting>>

/** In the place of a feature's name: all of them, to look for new ones. */
export const everyFeature = '*'

/**
 * The settings of all servers: one text in the store, changed by
 * compare-and-set, which a server reads when it starts and whenever it is told.
 */
export interface SettingsStore {
  /** @throws UNAVAILABLE */
  read (): Promise<FeatureSettings>
  /**
   * Changes several at once. Each gets a new revision.
   *
   * @param changes what takes the place of what is set, by name
   * @returns all settings as they are then
   * @throws UNAVAILABLE; then nothing is changed
   */
  change (changes: Readonly<Record<string, Omit<FeatureSetting, 'revision'>>>): Promise<FeatureSettings>
}

const [book, key] = ['features', 'settings']
const mostTries = 20

export function createSettings (store: Pick<Store, 'getNote' | 'swapNote'>): SettingsStore {
  const parse = (text: string | undefined): FeatureSettings => text === undefined ? {} : document.parse(JSON.parse(text))
  return {
    read: async () => parse(await store.getNote(book, key)),
    async change (changes) {
      for (let tries = 0; tries < mostTries; tries++) {
        const text = await store.getNote(book, key)
        const settings: Record<string, FeatureSetting> = { ...parse(text) }
        for (const [name, change] of Object.entries(changes)) {
          settings[name] = { ...settings[name], ...change, revision: (settings[name]?.revision ?? 0) + 1 }
        }
        if (await store.swapNote(book, key, text, JSON.stringify(settings))) return settings
      }
      throw unavailable('Too many change the features at once')
    }
  }
}
