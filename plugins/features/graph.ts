/**
 * Orders features so that each comes after those it depends on.
 *
 * @param dependencies what each depends on; names that are not keys are left out
 * @returns the order, and what can't be ordered because it depends on itself
 */
export function inOrder (dependencies: ReadonlyMap<string, readonly string[]>): { order: string[], circular: string[] } {
  const order: string[] = []
  const left = new Map([...dependencies].map(([name, on]) => [name, on.filter((other) => dependencies.has(other))]))
  for (;;) {
    const free = [...left].filter(([, on]) => on.every((other) => !left.has(other))).map(([name]) => name)
    if (free.length === 0) return { order, circular: [...left.keys()] }
    for (const name of free) {
      order.push(name)
      left.delete(name)
    }
  }
}

/**
 * @param dependencies what each depends on
 * @returns those that depend on one, directly or not, each before those it depends on
 */
export function dependentsOf (name: string, dependencies: ReadonlyMap<string, readonly string[]>): string[] {
  const found = new Set([name])
  for (let before = 0; before < found.size;) {
    before = found.size
    for (const [other, on] of dependencies) if (on.some((one) => found.has(one))) found.add(other)
  }
  return inOrder(dependencies).order.filter((other) => other !== name && found.has(other)).reverse()
}

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
