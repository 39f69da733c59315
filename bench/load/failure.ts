/** The failure of one participant in a load test. */
export class Failure extends Error {
  /**
   * An error code from the server, such as `UNAUTHORIZED`, or a code of the load tester: `UNREACHABLE` (no server
   * responds), `REFUSED` (an HTTP response without an error code), `TIMEOUT` (no reply), `DISCONNECTED` (the connection
   * ended), `MEDIA_FAILED` (no audio connection), `NO_MIX` (the server offers no mix), `MEDIA_RESET` (a media worker
   * died), `ROOM_CLOSED`.
   */
  readonly code: string

  constructor (code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** @returns the error as a {@link Failure}; an unexpected error has the code `INTERNAL` */
export function asFailure (error: unknown): Failure {
  if (error instanceof Failure) return error
  return new Failure('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error })
}

/** Failures with the same code. */
export interface FailureCount {
  code: string
  count: number
  /** The message of the first failure. */
  example: string
}

/** Counts failures by code. */
export class Failures {
  readonly #byCode = new Map<string, FailureCount>()

  record (error: unknown): void {
    const { code, message } = asFailure(error)
    const known = this.#byCode.get(code)
    if (known) known.count++
    else this.#byCode.set(code, { code, count: 1, example: message })
  }

  get count (): number {
    return [...this.#byCode.values()].reduce((sum, { count }) => sum + count, 0)
  }

  list (): FailureCount[] {
    return [...this.#byCode.values()]
  }
}
