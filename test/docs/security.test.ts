import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..', '..')
const text = readFileSync(join(root, 'docs/security.md'), 'utf8')

/** Number of requirements per section of OWASP ASVS 5.0, grouped by chapter. */
const sections = [
  [2, 10, 12, 3, 3], [3, 3, 5, 2], [1, 3, 5, 8, 8, 1, 5], [5, 5, 2, 4], [1, 6, 3, 3], [3, 12, 8, 6, 8, 4, 2, 4], [3, 4, 2, 5, 3, 2], [4, 4, 3, 2],
  [3, 4], [2, 3, 5, 16, 5, 2, 3], [4, 5, 5, 4, 2, 2, 2], [5, 2, 5], [4, 6, 4, 7], [2, 8, 3], [5, 5, 7, 4], [1, 5, 4, 3, 4], [2, 8, 2]
]
const requirements = sections.flatMap((counts, c) => counts.flatMap((count, s) => Array.from({ length: count }, (_, r) => `${c + 1}.${s + 1}.${r + 1}`)))

const rows = [...text.matchAll(/^\| (\d+\.\d+\.\d+) \| (.*?) \| (.*?) \| (.*) \|$/gm)].map(([, number = '', , result = '', by = '']) => ({ number, result, by }))

t.same(rows.map(({ number }) => number), requirements, 'every requirement has a row, in order')

for (const { number, result, by } of rows) {
  t.ok(['met', 'operator', 'not applicable', 'accepted'].includes(result), `${number}: ${result}`)
  t.ok(by.length > 3, `${number} has a reason`)
  let file = ''
  // Matches a file in backticks or a quoted test title. A test title must occur in the test file whose path precedes
  // the title.
  for (const [, path, title] of by.matchAll(/`((?:test|plugins|features|config|routes|scripts)\/[^`\s]*|server\.ts)`|(?<=[`"],? )"([^"]+)"/g)) {
    if (path !== undefined) {
      file = path
      t.ok(existsSync(join(root, path)), `${number}: ${path}`)
    } else {
      const source = readFileSync(join(root, file), 'utf8')
      t.ok(source.includes(`'${title}'`) || source.includes(`'${title?.replaceAll("'", "\\'")}'`) || source.includes(`"${title}"`), `${number}: ${file} has the test "${title}"`)
    }
  }
}

for (const page of ['README.md', 'docs/deployment.md']) t.match(readFileSync(join(root, page), 'utf8'), /security\.md/, `${page} links to the page`)
