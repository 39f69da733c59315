// Runs test files sequentially in one process, as subtests of tap's root. The process loads the server only once, not
// once per file, because each load takes a second of CPU time. scripts/test-lanes.ts starts this program and sends it
// the files.
import { once } from 'node:events'
import { registerHooks } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import tap from 'tap'
import type { Test } from 'tap'

/** A test process's request for its next file. */
export interface LaneRequest {
  next: true
}

/** Response to a {@link LaneRequest}. */
export interface LaneAnswer {
  /** Undefined if no file is left for this process. */
  file?: string
}

const root = resolve(import.meta.dirname, '..')
const tests = pathToFileURL(join(root, 'test')).href + '/'
const timeout = Number(process.argv[2])
let current: Test = tap

// Test files import tap's root test. Replace that root test with a subtest per file. When the file ends, the subtest's
// teardowns run, and the subtest's settings are discarded.
const url = 'flylive:tap'
const bound = new Proxy({}, {
  get (_, key) {
    const value: unknown = Reflect.get(current, key, current)
    return typeof value === 'function' ? value.bind(current) : value
  },
  set: (_, key, value) => Reflect.set(current, key, value, current)
})
Object.assign(globalThis, { [Symbol.for(url)]: bound })

/**
 * Imports a test file with module hooks that replace tap. Removes these hooks after the import, because some tests
 * check how features load modules.
 */
async function load (file: string): Promise<void> {
  const hooks = registerHooks({
    resolve: (specifier, context, next) => specifier === 'tap' && context.parentURL?.startsWith(tests)
      ? { url, shortCircuit: true, format: 'module' }
      : next(specifier, context),
    load: (address, context, next) => address === url
      ? { format: 'module', shortCircuit: true, source: `export default globalThis[Symbol.for('${url}')]` }
      : next(address, context)
  })
  try {
    await import(pathToFileURL(join(root, file)).href)
  } finally {
    hooks.deregister()
  }
}

process.once('disconnect', () => process.exit(1))
for (;;) {
  const answer = once(process, 'message') as Promise<[LaneAnswer]>
  // Make tap wait for the answer, because tap exits when there is nothing to wait for.
  tap.waitOn(answer)
  // Without this call, the process could exit, because tap unreferences the IPC channel.
  process.channel?.ref()
  process.send?.({ next: true } satisfies LaneRequest)
  const [{ file }] = await answer
  if (file === undefined) break
  await tap.test(file, { timeout }, async (t) => {
    current = t
    await load(file)
  })
}
process.removeAllListeners('disconnect')
process.disconnect()
// A test that failed halfway may have left a socket or child process open, which keeps this process alive.
setTimeout(() => {
  console.error(`A test left these resources open, which keep the test process running: ${process.getActiveResourcesInfo().join(', ')}`)
  process.exit(1)
}, 10_000).unref()
