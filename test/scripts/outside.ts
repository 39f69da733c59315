import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

const root = join(import.meta.dirname, '..', '..')

/** Prepares an external folder as docs/writing-features.md describes, so that its files compile and its tests run. */
export function linked (t: Test, folder: string): void {
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules', 'flylive-audio-server'))
  const text = readFileSync(join(root, 'docs', 'writing-features.md'), 'utf8')
  const files = [...text.matchAll(/^echo '([^']+)' > (\S+)$/gm)]
  for (const [, content = '', file = ''] of files) writeFileSync(join(folder, file), content)
  t.strictSame(files.map(([, , file]) => file), ['package.json', 'tsconfig.json'])
}
