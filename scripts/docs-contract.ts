// Writes docs/contract/ from the schemas that validate: what a server with all features on describes under /docs.
//
//   npm run docs:contract              writes openapi.json, asyncapi.json and README.md
//   npm run docs:contract -- --check   writes nothing; status 1 when one is stale
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config/load.ts'
import { contractMarkdown } from '../plugins/contract/markdown.ts'

const root = resolve(import.meta.dirname, '..')
const folder = 'docs/contract'

/**
 * Starts a server that listens nowhere, with every feature of features/ on, and
 * asks it. Nothing of this machine or its environment is in what it says.
 *
 * @returns what the generated files must contain, by path
 */
export async function contractDocs (): Promise<Record<string, string>> {
  const names = globSync('features/*/index.ts', { cwd: root }).map((file) => basename(dirname(file)))
  const dataDir = mkdtempSync(join(tmpdir(), 'flylive-docs-'))
  const config = loadConfig({
    NODE_ENV: 'test',
    NODE_ID: 'docs',
    FEATURES: names.join(),
    // Without a key there are no admin routes, and without a backend no bridge. Nobody answers there.
    ADMIN_API_KEY: 'only-there-so-that-admin-routes-exist',
    LARAVEL_API_URL: 'http://127.0.0.1:9',
    LARAVEL_INTERNAL_KEY: 'only-there-so-that-the-bridge-starts',
    DATA_DIR: dataDir,
    MEDIASOUP_WORKERS: '1',
    MEDIASOUP_RTC_MIN_PORT: String(20_000 + process.pid % 20_000)
  })
  const app = await buildApp({ config })
  try {
    await app.ready()
    const failed = app.features.list().filter(({ state }) => state !== 'enabled')
    if (failed.length > 0) throw new Error(`Not described: ${failed.map(({ name, error }) => `${name} (${error ?? 'off'})`).join(', ')}`)
    const contract = app.contract()
    return {
      [`${folder}/openapi.json`]: JSON.stringify(contract.openapi, null, 2) + '\n',
      [`${folder}/asyncapi.json`]: JSON.stringify(contract.asyncapi, null, 2) + '\n',
      [`${folder}/README.md`]: contractMarkdown(contract)
    }
  } finally {
    await app.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

function read (file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {}
}

if (import.meta.main) {
  const check = process.argv.includes('--check')
  mkdirSync(join(root, folder), { recursive: true })
  for (const [path, text] of Object.entries(await contractDocs())) {
    const file = join(root, path)
    if (!check) writeFileSync(file, text)
    else if (read(file) !== text) {
      console.error(`${path} is stale: npm run docs:contract`)
      process.exitCode = 1
    }
  }
}
