import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'

const root = resolve(import.meta.dirname, '../..')

function run (command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stdout + stderr}`)
  return stdout
}

/** Files that affect the package. The lock file is included because it pins the versions of the build tools. */
const sources = ['client/*.{ts,json,md}', 'client/LICENSE', 'client/examples/**/*.*', 'scripts/build-client.ts', 'test/client/package.ts', 'package-lock.json']

/**
 * Packs the client package, unless a test has already packed the current sources. Concurrent calls are safe.
 *
 * @returns the path of the package
 */
function packed (): string {
  const hash = createHash('sha256')
  for (const path of globSync(sources, { cwd: root }).sort()) hash.update(path).update('\0').update(readFileSync(join(root, path)))
  const cache = join(root, 'node_modules', '.cache', 'client-package')
  const file = join(cache, `${hash.digest('hex').slice(0, 16)}.tgz`)
  if (existsSync(file)) return file
  mkdirSync(cache, { recursive: true })
  const work = mkdtempSync(join(cache, '.packing-'))
  try {
    for (const part of ['package.json', 'README.md', 'LICENSE', 'examples']) cpSync(join(root, 'client', part), join(work, part), { recursive: true })
    const dist = join(work, 'dist')
    const output = run(process.execPath, ['scripts/build-client.ts', '--out', dist], root)
    if (output !== `Built ${dist}\n`) throw new Error(`scripts/build-client.ts printed: ${output}`)
    const [pack] = JSON.parse(run('npm', ['pack', '--json', '--offline', '--ignore-scripts'], work)) as { filename: string }[]
    renameSync(join(work, pack?.filename ?? ''), file)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return file
}

/**
 * Builds the client package and installs it into a new folder, which then contains `node_modules` and the package's
 * examples. Downloads nothing. The folder is deleted after the test.
 *
 * @returns the folder
 */
export function installClient (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-client-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const modules = join(folder, 'node_modules')
  const installed = join(modules, '@flylive', 'audio-client')
  mkdirSync(installed, { recursive: true })
  run('tar', ['-xzf', packed(), '-C', installed, '--strip-components=1'], folder)
  for (const name of ['mediasoup-client', 'uuid']) symlinkSync(join(root, 'node_modules', name), join(modules, name))
  for (const example of readdirSync(join(installed, 'examples'))) cpSync(join(installed, 'examples', example), join(folder, example))
  return folder
}
