import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ESLint } from 'eslint'
import t from 'tap'
import { featureFolder } from '../support/features.ts'
import { featureNew } from './feature-new.ts'

// `npm run lint` checks the template with the same rules; this test checks files created from the template.

const root = join(import.meta.dirname, '..', '..')

t.test('the new feature follows the code style', async (t) => {
  const folder = featureFolder(t)
  await featureNew(['hand-wave', '--into', folder.path])
  const eslint = new ESLint({ cwd: root })
  for (const file of readdirSync(join(folder.path, 'hand-wave'))) {
    // Lints the files with the rules of this checkout and with the rules for external features.
    for (const place of ['features/hand-wave', 'features/reactions']) {
      if (place === 'features/reactions' && file.endsWith('.test.ts')) continue
      const results = await eslint.lintText(readFileSync(join(folder.path, 'hand-wave', file), 'utf8'), { filePath: join(root, place, file) })
      t.strictSame(results.flatMap(({ messages }) => messages.map(({ line, message }) => `${file}:${line} ${message}`)), [])
    }
  }
})
