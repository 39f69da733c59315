/** Maximum size of an event or a reply, in bytes (docs/protocol.md, "Frames"). */
export const maxEventBytes = 65_536

/**
 * Takes items from the front of a list while their JSON fits.
 *
 * @param maxBytes maximum size of the JSON array, without its brackets
 * @returns the longest prefix that fits; at least one item, so that pagination always advances
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
