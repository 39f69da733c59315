import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { glob, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { brotliCompress, gzip } from 'node:zlib'

// Hidden: a change in there is none of the feature.
const built = join(import.meta.dirname, '.built')
const root = resolve(import.meta.dirname, '..', '..')
/** What the pages are made of; the lock file says by which tools. */
const sources = ['features/stage/pages/**/*.*', 'features/stage/{build,vite.config}.ts', 'client/*.ts', 'package-lock.json']
/** Builds that are kept: other servers may still serve from an older one. */
const kept = 3
const own = fileURLToPath(import.meta.url)

/**
 * @returns the folder with the pages and their assets
 * @throws when they are not built from the current sources
 */
export async function findPages (): Promise<string> {
  const folder = await folderOfPages()
  if (!existsSync(folder)) throw new Error('The pages of the stage are not built. Build them: npm run build:stage')
  return folder
}

/**
 * Builds the pages, unless they are built from the current sources. Another
 * process does that, so that its compiler does not stay. Concurrent calls are safe.
 *
 * @param say receives a line when it takes a moment
 * @returns the folder with the pages and their assets
 * @throws when something in them is wrong; the message has file and line
 */
export async function buildPages (say: (text: string) => void): Promise<string> {
  const folder = await folderOfPages()
  if (existsSync(folder)) return folder
  say('building the pages of the stage')
  const { NODE_ENV: _ours, ...env } = process.env
  await promisify(execFile)(process.execPath, [own], { env }).catch((error: Error & { stderr: string }) => {
    throw new Error(`The pages cannot be built: ${error.stderr.trim()}`, { cause: error })
  })
  return folder
}

/** @returns the folder for pages built from the current sources */
async function folderOfPages (): Promise<string> {
  const hash = createHash('sha256')
  const paths = await Array.fromAsync(glob(sources, { cwd: root }))
  for (const path of paths.sort()) hash.update(path).update('\0').update(await readFile(join(root, path)))
  return join(built, hash.digest('hex').slice(0, 16))
}

async function build (folder: string): Promise<void> {
  const { build } = await import('vite')
  const outDir = join(built, `.${process.pid}`)
  try {
    await build({ configFile: join(import.meta.dirname, 'vite.config.ts'), configLoader: 'native', logLevel: 'silent', build: { outDir } })
    await compress(join(outDir, 'assets'))
    await rename(outDir, folder).catch((error: unknown) => {
      // Somebody else was quicker.
      if (!existsSync(folder)) throw error
    })
  } finally {
    await rm(outDir, { recursive: true, force: true })
  }
}

/** Puts a packed copy beside each asset, so that nothing is packed while it is sent. */
async function compress (folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => !name.endsWith('.map'))
  await Promise.all(names.map(async (name) => {
    const text = await readFile(join(folder, name))
    await Promise.all([
      promisify(brotliCompress)(text).then((packed) => writeFile(join(folder, `${name}.br`), packed)),
      promisify(gzip)(text).then((packed) => writeFile(join(folder, `${name}.gz`), packed))
    ])
  }))
}

async function forgetOld (): Promise<void> {
  const folders = (await readdir(built)).filter((name) => !name.startsWith('.')).map((name) => join(built, name))
  const ages = await Promise.all(folders.map(async (folder) => ({ folder, at: (await stat(folder)).mtimeMs })))
  const old = ages.sort((a, b) => b.at - a.at).slice(kept)
  await Promise.all(old.map(({ folder }) => rm(folder, { recursive: true, force: true })))
}

// The set-up runs this file, so that the first start need not.
if (process.argv[1] === own) {
  const folder = await folderOfPages()
  if (!existsSync(folder)) {
    try {
      await build(folder)
      await forgetOld()
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`)
      process.exitCode = 1
    }
  }
}
