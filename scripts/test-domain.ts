// Replaces async-hook-domain, the package that tap uses to attribute uncaught errors to tests. That package tracks
// every promise with an async hook, which takes a tenth of the suite's CPU time. This module attributes an error to the
// innermost running test. That is accurate enough, because each test process runs one file at a time.
import { registerHooks } from 'node:module'

type ErrorKind = 'uncaughtException' | 'unhandledRejection'

/** The running tests, from the outermost to the innermost. */
const running = new Set<Domain>()

/** Represents a running test. tap creates a `Domain` for each test and destroys it when the test ends. */
export class Domain {
  readonly onerror: (error: unknown, kind: ErrorKind) => void

  constructor (onerror: (error: unknown, kind: ErrorKind) => void) {
    this.onerror = onerror
    running.add(this)
  }

  destroy (): void {
    running.delete(this)
  }
}

for (const kind of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(kind, (error: unknown) => {
    // If the test has registered its own handler, the test expects the error.
    if (process.listenerCount(kind) > 1) return
    const domain = [...running].at(-1)
    if (!domain) throw error
    domain.onerror(error, kind)
  })
}

registerHooks({
  resolve: (specifier, context, next) => specifier === 'async-hook-domain' ? { url: import.meta.url, shortCircuit: true } : next(specifier, context)
})
