// Runs test files in one process, one after the other, as subtests of tap's
// root. Loading the server costs a second of CPU; here it is paid per process,
// not per file. scripts/test-lanes.ts starts this and sends it the files.
import { once } from 'node:events'
import { registerHooks } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import tap from 'tap'
import type { Test } from 'tap'

/** A lane asks for its next file. */
export interface LaneRequest {
  next: true
}

/** The answer to a request. */
export interface LaneAnswer {
  /** undefined: there is none left for this process. */
  file?: string
}

const root = resolve(import.meta.dirname, '..')
const tests = pathToFileURL(join(root, 'test')).href + '/'
const timeout = Number(process.argv[2])
let current: Test = tap

// A test file imports the root of tap. Here it gets the subtest of its own,
// whose teardowns run, and whose settings end, with the file.
const url = 'flylive:tap'
const bound = new Proxy({}, {
  get (_, key) {
    const value: unknown = Reflect.get(current, key, current)
    return typeof value === 'function' ? value.bind(current) : value
  },
  set: (_, key, value) => Reflect.set(current, key, value, current)
})
Object.assign(globalThis, { [Symbol.for(url)]: bound })

/** Imports a test file. Once it is loaded, modules load without hooks again: what features load is under test. */
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
  // tap ends when it has nothing to wait for.
  tap.waitOn(answer)
  // tap has unreferenced it.
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
