import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { featureFolder } from '../support/features.ts'
import { linked } from './outside.ts'

const root = join(import.meta.dirname, '..', '..')

async function run (args: string[], cwd: string) {
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', (chunk) => { out += String(chunk) })
  const [status] = await once(child, 'close') as [number]
  return { status, out }
}

t.test('a new feature compiles outside the checkout and reports type errors', async (t) => {
  const folder = featureFolder(t)
  t.equal((await run([join(root, 'scripts', 'feature-new.ts'), 'wave', '--into', folder.path], root)).status, 0)
  linked(t, folder.path)
  // The imports are permitted, but the call to `removeRoom` must be a type error.
  const index = join(folder.path, 'wave', 'index.ts')
  writeFileSync(index, readFileSync(index, 'utf8').replace('said.inc()', "said.inc(); app.store.removeRoom('r1')"))
  const { out } = await run([join(root, 'node_modules', 'typescript-7', 'bin', 'tsc'), '--project', folder.path], folder.path)
  t.strictSame(out.match(/^\S+?: error TS\d+/gm), ['wave/index.ts(23,27): error TS2339'], out)
})
