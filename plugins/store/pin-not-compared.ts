/**
 * Thrown if the PIN of a join was not compared with the room's current hash. The kernel handles this error; clients
 * never receive it, so it is not in errors.ts.
 */
export class PinNotCompared extends Error {
  override readonly name = 'PinNotCompared'
  readonly code = 'PIN_NOT_COMPARED'
  readonly statusCode = 409
  readonly pinHash: string

  /** @param pinHash the room's stored hash */
  constructor (pinHash: string) {
    super("The PIN was not compared with the room's hash")
    this.pinHash = pinHash
  }
}
