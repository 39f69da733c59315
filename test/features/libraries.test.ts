import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '../..')

/** @returns the libraries that Node loads when a separate process imports a file */
function librariesOf (file: string): string[] {
  const code = `import { registerHooks } from 'node:module'
const loaded = new Set()
registerHooks({ load (url, context, next) { loaded.add(/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1]); return next(url, context) } })
await import(${JSON.stringify(join(root, file))})
console.log(JSON.stringify([...loaded].filter(Boolean)))`
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })) as string[]
}

// The loader imports the index of every feature, including those that are off.
t.test('the libraries of a feature are loaded only while it is on, and the Redis client only if Redis is configured', async (t) => {
  for (const [index, user, library] of [
    ['features/push-to-talk/index.ts', 'features/push-to-talk/frames.ts', '@msgpack/msgpack'],
    ['features/whip/index.ts', 'features/whip/sdp.ts', 'sdp-transform'],
    ['features/laravel-bridge/index.ts', 'features/laravel-bridge/client.ts', 'undici'],
    ['features/webhooks/index.ts', 'features/webhooks/sender.ts', 'undici'],
    ['plugins/redis/index.ts', 'plugins/redis/client.ts', 'ioredis']
  ] as const) {
    t.notOk(librariesOf(index).includes(library), index)
    t.ok(librariesOf(user).includes(library), 'the check finds the library where it is used')
  }
})
