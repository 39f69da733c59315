// Versions of room state: `<createdAt of the room>.<number>`. They grow with each
// change, and no version of a room is one of an earlier room of that name.

/** When the room was created, epoch milliseconds; undefined when there is no version. */
export const epochOf = (version: string) => version.split('.')[0]

/**
 * @param createdAt of the room, for its first version
 * @param least the lowest number allowed
 * @returns the version after that one
 */
export function following (version: string, createdAt: number, least: number): string {
  const [epoch = String(createdAt), number = '0'] = version === '' ? [] : version.split('.')
  return `${epoch}.${Math.max(Number(number) + 1, least)}`
}

/** Compares versions; the empty one is older than all others. */
export function isNewer (version: string, than: string): boolean {
  if (than === '') return version !== ''
  const [epoch = 0, number = 0] = version.split('.').map(Number)
  const [otherEpoch = 0, otherNumber = 0] = than.split('.').map(Number)
  return epoch === otherEpoch ? number > otherNumber : epoch > otherEpoch
}
