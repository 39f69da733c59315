import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { strictly } from '../plugins/schema/variables.ts'
import { featureSettings } from './feature-settings.ts'
import type { Environment } from './schema.ts'

const ownFolder = join(import.meta.dirname, '../features')

const foldersIn = (path: string) => readdirSync(path, { withFileTypes: true }).filter((entry) => !entry.isFile()).map(({ name }) => name)

/**
 * @returns the problems in FEATURES and FEATURES_CONFIG: unknown features, unknown settings and invalid settings. If
 *   FEATURES_PATH is set, unknown features are allowed, because they may be added to these folders later
 */
export function problemsInFeatures ({ FEATURES, FEATURES_CONFIG, FEATURES_PATH, FEATURES_PACKAGES }: Environment): string[] {
  const others = [...FEATURES_PATH.flatMap(foldersIn), ...FEATURES_PACKAGES.map((name) => basename(name))]
  const known = new Set([...foldersIn(ownFolder), ...others])
  const list = [...known].sort().join(', ')
  const missing = (variable: string, names: readonly string[]) => names.filter((name) => FEATURES_PATH.length === 0 && !known.has(name)).map((name) => `${variable}: feature ${name} does not exist; the features are ${list}`)
  return [
    ...missing('FEATURES', FEATURES.map((name) => name.replace(/^-/, ''))),
    ...missing('FEATURES_CONFIG', Object.keys(FEATURES_CONFIG)),
    ...featureSettings.filter(({ feature }) => !others.includes(feature)).flatMap(({ feature, config }) =>
      (strictly(config).safeParse(FEATURES_CONFIG[feature] ?? {}).error?.issues ?? []).map(({ path, message }) => `FEATURES_CONFIG: ${[feature, ...path].join('.')}: ${message}`))
  ]
}
