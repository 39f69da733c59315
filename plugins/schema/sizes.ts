/** Maximum size of an event or a reply, in bytes (docs/protocol.md, "Frames"). */
export const maxEventBytes = 65_536

/** @returns the approximate size of the JSON array in bytes, estimated from the first, the middle and the last item */
export function estimateBytes (items: readonly unknown[]): number {
  const sample = [items[0], items[items.length >> 1], items.at(-1)]
  return Buffer.byteLength(JSON.stringify(sample)) / sample.length * items.length
}

/**
 * Takes items from the start of a list until their JSON would exceed `maxBytes`.
 *
 * @param maxBytes maximum size of the JSON array, without its brackets
 * @returns the longest prefix of the list that fits; at least the first item, so that pagination always advances
 */
export function fitting<T> (items: readonly T[], maxBytes: number): T[] {
  if (Buffer.byteLength(JSON.stringify(items)) - 2 <= maxBytes) return [...items]
  let bytes = 0
  const tooMany = items.findIndex((item, index) => {
    bytes += Buffer.byteLength(JSON.stringify(item)) + 1
    return bytes > maxBytes && index > 0
  })
  return tooMany === -1 ? [...items] : items.slice(0, tooMany)
}
