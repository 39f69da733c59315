/** Thrown if the environment variables are invalid; `problems` has one line per error. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code = 'CONFIG_INVALID'
  readonly problems: readonly string[]

  constructor (problems: readonly string[]) {
    super(`The configuration is invalid:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/**
 * Thrown if the server cannot start for a reason that the operator can fix. The message says what to change, so the
 * server prints the message without the stack.
 */
export class StartError extends Error {
  override readonly name = 'StartError'
}
