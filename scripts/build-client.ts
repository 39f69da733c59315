// Builds the client package.
//
//   npm run build:client                    client/contract.ts and client/dist
//   npm run build:client -- --types         only client/contract.ts, from the server's schemas
//   npm run build:client -- --check         writes nothing; exits with 1 if client/contract.ts is stale
//   npm run build:client -- --out FOLDER    builds into FOLDER and leaves the checkout unchanged
//
// dist contains a JavaScript file and a declaration file per module, plus browser.js, a
// self-contained bundle.
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { clientContract } from './client-contract.ts'

const root = resolve(import.meta.dirname, '..')
const client = join(root, 'client')
const contract = join(client, 'contract.ts')

/**
 * Builds the client's modules.
 *
 * @param out output folder, whose existing contents are removed first
 * @throws an error whose message contains the output of the compiler or bundler
 */
async function buildClient (out: string): Promise<void> {
  rmSync(out, { recursive: true, force: true })
  const tsc = join(root, 'node_modules', 'typescript-7', 'bin', 'tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '--project', client, '--outDir', out], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`The client does not compile:\n${stdout}`)
  // The compiler keeps .ts suffixes in import paths of declaration files, but older compilers reject such paths.
  for (const file of globSync(join(out, '*.d.ts'))) {
    writeFileSync(file, readFileSync(file, 'utf8').replace(/(?<=^(?:import|export) .*from '\.\/[\w-]+)\.ts(?=';$)/gm, '.js'))
  }
  await build({
    entryPoints: [join(client, 'index.ts')],
    outfile: join(out, 'browser.js'),
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    sourcemap: true,
    logLevel: 'silent'
  })
}

if (import.meta.main) {
  const { values: { check, types, out } } = parseArgs({
    options: { check: { type: 'boolean' }, types: { type: 'boolean' }, out: { type: 'string' } }
  })
  const text = await clientContract()
  if (check) {
    if (readFileSync(contract, 'utf8') !== text) {
      console.error('client/contract.ts is stale: npm run build:client -- --types')
      process.exitCode = 1
    }
  } else {
    if (out === undefined) writeFileSync(contract, text)
    if (!types) {
      const folder = out === undefined ? join(client, 'dist') : resolve(out)
      await buildClient(folder)
      console.log(`Built ${folder}`)
      if (out === undefined) console.log(`To use the package in another project, run there: npm install ${client}`)
    }
  }
}
