/**
 * Which features run: the defaults of the environment, changed by `FEATURES`.
 *
 * @param known names of all features there are
 * @param defaults by name; a feature not named is on
 * @param wanted names, which then are all that run, or -names, which don't
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
