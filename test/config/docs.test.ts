import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import t from 'tap'
import { featureSettings, featureVariables } from '../../config/feature-settings.ts'
import { secrets as kernelSecrets, schema } from '../../config/schema.ts'
import { settingsFromEnv } from '../../plugins/schema/variables.ts'
import { configDocs } from '../../scripts/docs-config.ts'

const root = resolve(import.meta.dirname, '../..')
const names = [...Object.keys(schema.shape), ...featureVariables().map(({ name }) => name)]
const secrets = [...kernelSecrets, ...featureVariables().filter(({ isSecret }) => isSecret).map(({ name }) => name)]

t.test('.env.example and docs/configuration.md match the schema', async (t) => {
  for (const [path, text] of Object.entries(configDocs())) {
    t.equal(readFileSync(resolve(root, path), 'utf8'), text, `${path} is stale: npm run docs:config`)
  }
})

t.test('--check succeeds', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs-config.ts', '--check'], { cwd: root, encoding: 'utf8' })
  t.equal(status, 0, stderr)
})

t.test('.env.example names every variable once and sets none', async (t) => {
  const text = configDocs()['.env.example'] ?? ''
  t.same([...text.matchAll(/^# ([A-Z0-9_]+)=/gm)].map(([, name]) => name), names)
  t.same(text.split('\n').filter((line) => line !== '' && !line.startsWith('#')), [])
})

t.test('uncommenting the variables in .env.example changes no setting', async (t) => {
  const text = (configDocs()['.env.example'] ?? '').replace(/^# (?=[A-Z0-9_]+=)/gm, '')
  const set = Object.entries(parseEnv(text)).filter(([, value]) => value !== '')
  t.ok(set.length > 30)
  t.same(schema.parse(Object.fromEntries(set)), schema.parse({}))
  for (const { config, feature } of featureSettings) t.same(config.parse(settingsFromEnv(config, Object.fromEntries(set))), config.parse({}), feature)
})

t.test('the reference explains every variable and marks secrets', async (t) => {
  const rows = (configDocs()['docs/configuration.md'] ?? '').split('\n').filter((line) => /^\| `[A-Z]/.test(line))
  t.same(rows.map((row) => row.match(/^\| `(\w+)`/)?.[1]), names)
  for (const [index, row] of rows.entries()) {
    const [, , meaning, byDefault, values] = row.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, ''))
    const name = names[index]
    t.ok([meaning, byDefault ?? meaning].every((cell) => cell && cell !== 'undefined'), `${name} is described`)
    t.equal(/secret( \|)?$/.test(row), secrets.includes(name ?? ''), `${name}: ${values}`)
  }
})

t.test('the reference describes every feature, and formats each example separately', async (t) => {
  const text = configDocs()['docs/configuration.md'] ?? ''
  const shipped = execFileSync('git', ['ls-files', 'features/*/index.ts'], { cwd: root, encoding: 'utf8' }).trim().split('\n').map((path) => path.split('/')[1])
  t.same([...text.matchAll(/^\| `([a-z-]+)` \| .+ \| .+ \| .+ \| .+ \|$/gm)].map(([, name]) => name), shipped)
  t.match(text, 'networks of proxies like `10.0.0.0/8`, separated by commas |')
  t.match(text, 'URLs like `turn:turn.example.com:3478` or `turns:turn.example.com:5349?transport=tcp` |')
})
