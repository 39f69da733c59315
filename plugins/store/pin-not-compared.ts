/**
 * The PIN of a join must be compared with the room's hash before the join can be decided. The kernel
 * handles this error; it is not part of the contract with clients, and therefore not in errors.ts.
 */
export class PinNotCompared extends Error {
  override readonly name = 'PinNotCompared'
  readonly code = 'PIN_NOT_COMPARED'
  readonly statusCode = 409
  readonly pinHash: string

  /** @param pinHash the room's stored hash */
  constructor (pinHash: string) {
    super('The PIN was not compared with the hash of the room')
    this.pinHash = pinHash
  }
}
