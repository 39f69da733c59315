/**
 * Freezes a list and reuses unchanged objects, so that applications can compare lists and items by identity, as React
 * and Vue do. Unchanged items are the same objects as in the previous list. If no item changed, the function returns
 * the previous list.
 *
 * @param previous the last result
 * @param current the current items, which this function freezes
 * @param keyOf returns a key that identifies the same item in both lists
 */
export function updateSnapshot<T extends object> (previous: readonly T[], current: readonly T[], keyOf: (item: T) => unknown): readonly T[] {
  const known = new Map(previous.map((item) => [keyOf(item), item]))
  const items = current.map((item) => {
    const same = known.get(keyOf(item))
    return same && isEqual(same, item) ? same : Object.freeze(item)
  })
  const unchanged = items.length === previous.length && items.every((item, index) => item === previous[index])
  return unchanged ? previous : Object.freeze(items)
}

/** True if both objects have the same properties with identical values. */
function isEqual (one: object, other: object): boolean {
  const entries = Object.entries(one)
  return entries.length === Object.keys(other).length &&
    entries.every(([key, value]) => Object.hasOwn(other, key) && Object.is(value, (other as Record<string, unknown>)[key]))
}
