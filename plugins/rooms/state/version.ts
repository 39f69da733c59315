// Versions of room state: `<createdAt of the room>.<number>`. The store assigns
// them. They grow with each change, and are newer than those of earlier rooms of that name.

/** When the room was created, epoch milliseconds; undefined when there is no version. */
export const epochOf = (version: string) => version.split('.')[0]

/** The version of a room without state of some name. */
export const versionZero = (createdAt: number) => `${createdAt}.0`

/** Compares versions; the empty one is older than all others. */
export function isNewer (version: string, than: string): boolean {
  if (than === '') return version !== ''
  const [epoch = 0, number = 0] = version.split('.').map(Number)
  const [otherEpoch = 0, otherNumber = 0] = than.split('.').map(Number)
  return epoch === otherEpoch ? number > otherNumber : epoch > otherEpoch
}
