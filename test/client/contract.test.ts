import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { clientContract } from '../../scripts/client-contract.ts'

const root = resolve(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(resolve(root, path), 'utf8')
const parse = (path: string) => JSON.parse(read(path)) as { version: string, dependencies: Record<string, string>, devDependencies?: Record<string, string> }

t.test('client/contract.ts matches the server\'s schemas', async (t) => {
  t.equal(read('client/contract.ts'), await clientContract(), 'client/contract.ts is stale: npm run build:client -- --types')
  const { status, stderr } = spawnSync(process.execPath, ['scripts/build-client.ts', '--check'], { cwd: root, encoding: 'utf8' })
  t.equal(status, 0, stderr)
})

t.test('the client imports no server code', async (t) => {
  const { dependencies } = parse('client/package.json')
  for (const file of globSync('client/*.ts', { cwd: root })) {
    const imported = [...read(file).matchAll(/from '([^']+)'/g)].map(([, name = '']) => name)
    t.same(imported.filter((name) => !/^\.\/[\w-]+\.ts$/.test(name) && !(name in dependencies)), [], file)
  }
})

t.test('the package has the server\'s version and licence', async (t) => {
  const [client, server] = [parse('client/package.json'), parse('package.json')]
  t.equal(client.version, server.version)
  for (const [name, range] of Object.entries(client.dependencies)) t.equal(range, { ...server.devDependencies, ...server.dependencies }[name], name)
  t.equal(read('client/LICENSE'), read('LICENSE'))
})

t.test('the README contains the tested examples', async (t) => {
  const readme = read('client/README.md')
  for (const file of globSync('client/examples/*', { cwd: root })) {
    const example = read(file)
    t.ok(readme.includes(`\n${example}\`\`\`\n`), file)
    t.ok(example.split('\n').length <= 33, `${file} is short`)
  }
})
