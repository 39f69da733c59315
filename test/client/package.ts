import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'

const root = resolve(import.meta.dirname, '../..')

function run (command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stdout + stderr}`)
  return stdout
}

/**
 * Builds the client package and installs it into a new folder, which contains `node_modules`
 * and the package's examples. Downloads nothing. The folder is deleted after the test.
 *
 * @returns the folder
 */
export async function installClient (t: Test): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-client-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const source = join(folder, 'source')
  const modules = join(folder, 'node_modules')
  const installed = join(modules, '@flylive', 'audio-client')
  for (const part of ['package.json', 'README.md', 'LICENSE', 'examples']) cpSync(join(root, 'client', part), join(source, part), { recursive: true })
  const dist = join(source, 'dist')
  t.equal(run(process.execPath, ['scripts/build-client.ts', '--out', dist], root), `Built ${dist}\n`)
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--offline', '--ignore-scripts', '--pack-destination', folder], source)) as { filename: string }[]
  mkdirSync(installed, { recursive: true })
  run('tar', ['-xzf', join(folder, packed?.filename ?? ''), '-C', installed, '--strip-components=1'], folder)
  for (const name of ['mediasoup-client', 'uuid']) symlinkSync(join(root, 'node_modules', name), join(modules, name))
  for (const example of readdirSync(join(installed, 'examples'))) cpSync(join(installed, 'examples', example), join(folder, example))
  return folder
}
