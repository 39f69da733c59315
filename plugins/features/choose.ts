/**
 * Selects the features to run: the defaults of the environment, changed by `FEATURES`.
 *
 * @param known names of all installed features
 * @param defaults by name; a missing feature is on
 * @param wanted the names of the only features to run, or -names to exclude
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
