import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '../..')

/** @returns which libraries Node loads when it imports a file in its own process */
function librariesOf (file: string): string[] {
  const code = `import { registerHooks } from 'node:module'
const loaded = new Set()
registerHooks({ load (url, context, next) { loaded.add(/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1]); return next(url, context) } })
await import(${JSON.stringify(join(root, file))})
console.log(JSON.stringify([...loaded].filter(Boolean)))`
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })) as string[]
}

// The loader imports the index of every feature, including those that are off.
t.test('the libraries of push-to-talk and WHIP are loaded only while the features are on', async (t) => {
  for (const [feature, user, library] of [['push-to-talk', 'frames.ts', '@msgpack/msgpack'], ['whip', 'sdp.ts', 'sdp-transform']] as const) {
    t.notOk(librariesOf(`features/${feature}/index.ts`).includes(library), feature)
    t.ok(librariesOf(`features/${feature}/${user}`).includes(library), 'the check finds the library where it is used')
  }
})
