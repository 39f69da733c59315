import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { glob, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { brotliCompress, gzip } from 'node:zlib'

// The folder is hidden, so that the feature watcher ignores the builds.
const built = join(import.meta.dirname, '.built')
const root = resolve(import.meta.dirname, '..', '..')
/** The inputs of a build. The lock file is included because it pins the versions of the build tools. */
const sources = ['features/stage/pages/**/*.*', 'features/stage/{build,vite.config}.ts', 'client/*.ts', 'package-lock.json']
/** Number of builds to keep. Other servers may still serve an older build. */
const maxBuilds = 3
const thisFile = fileURLToPath(import.meta.url)

/**
 * @returns the folder with the pages and their assets
 * @throws if there is no build of the current sources
 */
export async function findPages (): Promise<string> {
  const folder = await buildFolder()
  if (!existsSync(folder)) throw new Error('The stage pages are not built. Run: npm run build:stage')
  return folder
}

/**
 * Builds the pages, unless a build of the current sources already exists. The build runs in a child process, so that
 * the compiler's memory is freed afterwards. Concurrent calls are safe.
 *
 * @param log called with a log line when a build starts
 * @returns the folder with the pages and their assets
 * @throws if the build fails; the error message contains the file and line
 */
export async function buildPages (log: (text: string) => void): Promise<string> {
  const folder = await buildFolder()
  if (existsSync(folder)) return folder
  log('building the stage pages')
  const { NODE_ENV: _ours, ...env } = process.env
  await promisify(execFile)(process.execPath, [thisFile], { env }).catch((error: Error & { stderr: string }) => {
    throw new Error(`Failed to build the stage pages: ${error.stderr.trim()}`, { cause: error })
  })
  return folder
}

/** @returns the folder for a build of the current sources; its name is a hash of the sources */
async function buildFolder (): Promise<string> {
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
      // Another process finished the same build first, so use that build.
      if (!existsSync(folder)) throw error
    })
  } finally {
    await rm(outDir, { recursive: true, force: true })
  }
}

/** Writes compressed copies of each asset, so that the server does not have to compress responses. */
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

async function removeOldBuilds (): Promise<void> {
  const folders = (await readdir(built)).filter((name) => !name.startsWith('.')).map((name) => join(built, name))
  const ages = await Promise.all(folders.map(async (folder) => ({ folder, at: (await stat(folder)).mtimeMs })))
  const old = ages.sort((a, b) => b.at - a.at).slice(maxBuilds)
  await Promise.all(old.map(({ folder }) => rm(folder, { recursive: true, force: true })))
}

// The setup runs this file, so that the server does not have to build the pages when it first starts.
if (process.argv[1] === thisFile) {
  const folder = await buildFolder()
  if (!existsSync(folder)) {
    try {
      await build(folder)
      await removeOldBuilds()
    } catch (error) {
      process.stderr.write(`${(error as Error).message}\n`)
      process.exitCode = 1
    }
  }
}
