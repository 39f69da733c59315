import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { build } from '../support/build.ts'

// Checks that the names in docs/migration.md exist in this server.

const read = (path: string) => readFileSync(join(import.meta.dirname, '..', '..', path), 'utf8')
const guide = read('docs/migration.md')
const section = (title: string) => guide.split(`\n## ${title}\n`)[1]?.split('\n## ')[0] ?? ''
const rows = (title: string) => section(title).split('\n').filter((line) => line.startsWith('| ')).slice(1).map((line) => line.split(' | '))
const names = (text: string | undefined, pattern: RegExp) => [...(text ?? '').matchAll(pattern)].map(([, name]) => name as string)

t.test('every variable mentioned in the guide exists', async (t) => {
  const known = new Set(names(read('docs/configuration.md'), /^\| `([A-Z_]+)` \|/gm))
  const used = [...rows('Variables').flat(), section('Tokens: from Sanctum to JWT'), section('Endpoints and Redis keys')].flatMap((text) => names(text, /`([A-Z][A-Z_]*_[A-Z_]+|PORT)`/g))
  const codes = new Set(['UNAVAILABLE', 'UNAUTHORIZED', 'TOO_MANY_CONNECTIONS', 'FEATURE_DISABLED', 'ORIGIN_NOT_ALLOWED', 'DRAINING', 'INTERNAL'])
  t.ok(used.length > 20)
  for (const name of used) t.ok(known.has(name) || codes.has(name), name)
})

t.test('every metric mentioned in the guide exists', async (t) => {
  const server = await build(t, { env: { LARAVEL_API_URL: 'http://127.0.0.1:9', LARAVEL_INTERNAL_KEY: 'x'.repeat(32) } })
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const used = rows('Metrics').flatMap(([, now]) => names(now, /`((?:flylive|process|nodejs)_\w+)/g))
  t.ok(used.length > 15)
  for (const name of used) t.match(text, new RegExp(`^# TYPE ${name} `, 'm'), name)
})
