import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
// @ts-expect-error The setup is plain JavaScript because it runs before any package is installed.
import { startTools } from '../../scripts/setup/dependencies.mjs'

const root = join(import.meta.dirname, '../..')
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
const own = ['@flylive/audio-client', 'flylive-audio-server']

/** @returns the packages that a file imports at run time */
function packagesOf (file: string): string[] {
  const imports = readFileSync(join(root, file), 'utf8')
    .matchAll(/^import (?!type\b)(?:[^'"]*\bfrom )?['"]([^.'"][^'"]*)['"]|^export [^'"]* from ['"]([^.'"][^'"]*)['"]|await import\(['"]([^.'"][^'"]*)['"]\)/gm)
  return [...imports]
    .map(([, ...names]) => names.find(Boolean) as string)
    .filter((name) => !name.startsWith('node:'))
    .map((name) => (/^(?:@[^/]+\/)?[^/]+/.exec(name) as RegExpExecArray)[0])
    .filter((name) => !own.includes(name))
}

// All packages are installed when the tests run, so no other test would notice a missing package.
t.test('`npm start` installs every package that the server and its pages import', async (t) => {
  const installed = new Set([...Object.keys(dependencies), ...startTools as string[]])
  const files = globSync('{plugins,features,routes,config,client}/**/*.{ts,vue}', { cwd: root, exclude: (path) => path.includes('node_modules') })
    .filter((file) => !file.endsWith('.d.ts'))
  const missing = [...files, 'app.ts', 'server.ts'].flatMap((file) => packagesOf(file)
    .filter((name) => !installed.has(name))
    .map((name) => `${file} imports ${name}`))
  t.same(missing, [])
  t.same(packagesOf('features/stage/pages/listen/player.ts').includes('hls.js'), true, 'finds the imports of a page')
})
