import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..', '..')
const rows = readFileSync(join(root, 'docs/audit.md'), 'utf8').split('\n').filter((line) => line.startsWith('| **'))

const findings = [
  ...['PERF-010', 'PERF-011', 'PERF-012', 'PERF-013'],
  ...['ARCH-010', 'ARCH-011', 'ARCH-012'],
  ...['RT-010', 'RT-011', 'RT-012'],
  ...['CQ-010', 'CQ-011'],
  ...['SEC-010', 'SEC-011'],
  ...['REL-010', 'REL-011', 'REL-012']
]

t.same(rows.map((row) => /\*\*([A-Z]+-\d+)\*\*/.exec(row)?.[1]), findings, 'every finding has a row')

for (const row of rows) {
  const [, file = '', titles = ''] = /\| `(test\/[^`]+)`: (.+) \|$/.exec(row) ?? []
  const text = existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : ''
  for (const [, title = ''] of titles.matchAll(/"([^"]+)"/g)) {
    // Test names in the feature matrix are generated from feature names.
    const written = file.endsWith('matrix.test.ts') ? 'without $' : `'${title}'`
    t.ok(text.includes(written), `${file}: ${title}`)
  }
  t.match(titles, /^"/, file)
}
