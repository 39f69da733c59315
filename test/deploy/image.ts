import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, glob, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, matchesGlob, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
// @ts-expect-error: the setup is plain JavaScript, which also runs on older versions of Node
import { removeUnused } from '../../scripts/setup/dependencies.mjs'

// Executes the Dockerfile's steps in ordinary folders, so that a test can check without Docker which files the image
// contains.

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '..', '..')

/** Path of the media worker that tests use instead of downloading or building one for the image. */
export const mediaWorker = process.env.MEDIASOUP_WORKER_BIN ?? join(root, 'node_modules/mediasoup/worker/out/Release/mediasoup-worker')

interface Step {
  instruction: string
  rest: string
}

/** Stages by name; the final stage is `image`. */
type Stages = ReadonlyMap<string, { from: string, steps: Step[] }>

async function readStages (): Promise<Stages> {
  const text = (await readFile(join(root, 'Dockerfile'), 'utf8')).replaceAll(/^#.*\n/gm, '').replaceAll('\\\n', ' ')
  const stages = new Map<string, { from: string, steps: Step[] }>()
  for (const [, instruction = '', rest = ''] of text.matchAll(/^([A-Z]+) (.*)$/gm)) {
    const [, from, , name = 'image'] = (instruction === 'FROM' && /^(\S+)( AS (\S+))?$/.exec(rest)) || []
    if (from !== undefined) stages.set(name, { from, steps: [] })
    else [...stages.values()].at(-1)?.steps.push({ instruction, rest })
  }
  return stages
}

/**
 * Matches the steps to skip: steps that need root or Debian packages, and the check of the image's own media worker.
 */
const needsContainer = /^(apt-get|mkdir -p data|node_modules\/mediasoup\/worker)/

export interface ImageOptions {
  /**
   * For some Dockerfile stages, a function that copies files into the stage's folder to speed up the stage's first
   * step.
   */
  prepare?: Record<string, (folder: string) => Promise<void>>
  /** For some Dockerfile stages, a function that fills the stage's folder in place of the stage's steps. */
  replace?: Record<string, (folder: string) => Promise<void>>
}

/**
 * Executes the stages in order.
 *
 * @returns the folder that becomes `/app` in the image
 * @throws if a step fails; the error contains the step's output
 */
export async function buildImage (t: Test, { prepare = {}, replace = {} }: ImageOptions = {}): Promise<string> {
  const base = await mkdtemp(join(tmpdir(), 'flylive-image-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const ignored = await ignoredPaths()
  for (const [name, { from, steps }] of await readStages()) {
    const app = join(base, name)
    await mkdir(app)
    const replacement = replace[name]
    if (replacement !== undefined) {
      await replacement(app)
      continue
    }
    // If the base is an earlier stage, copy its folder. A base image from the registry has no folder.
    if (existsSync(join(base, from))) await run('cp', ['-a', `${join(base, from)}/.`, app])
    await prepare[name]?.(app)
    const env: Record<string, string> = {}
    for (const { instruction, rest } of steps) {
      if (instruction === 'ENV') Object.assign(env, Object.fromEntries([rest.split('=')]))
      if (instruction === 'COPY') await copy(rest.split(' '), app, base, ignored)
      if (instruction === 'RUN' && !needsContainer.test(rest)) {
        await run('sh', ['-c', rest], { cwd: app, env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, MEDIASOUP_WORKER_BIN: mediaWorker, ...env } })
      }
    }
  }
  return join(base, 'image')
}

async function ignoredPaths (): Promise<(path: string) => boolean> {
  const patterns = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return (path) => patterns.some((pattern) => matchesGlob(path, pattern))
}

async function copy (words: string[], app: string, base: string, ignored: (path: string) => boolean): Promise<void> {
  const [, stage] = /^--from=(.+)$/.exec(words[0] ?? '') ?? []
  const [target = '', ...sources] = (stage === undefined ? words : words.slice(1)).toReversed()
  for (const source of sources) {
    if (stage !== undefined) {
      // Hard links are safe, because no later step changes these files.
      await mkdir(dirname(join(app, target)), { recursive: true })
      await run('cp', ['-al', join(base, stage, relative('/app', source)), join(app, target)])
      continue
    }
    const from = join(root, source)
    const isFolder = (await stat(from)).isDirectory()
    await cp(from, isFolder ? join(app, target) : join(app, target, source.split('/').at(-1) ?? ''), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => path === root || !ignored(relative(root, path))
    })
  }
}

/** Copies the packages of a production install from this checkout's node_modules, without the development packages. */
export async function copyProductionPackages (folder: string): Promise<void> {
  const lock = await readFile(join(root, 'package-lock.json'), 'utf8')
  const { packages } = JSON.parse(lock) as { packages: Record<string, { dev?: true, peer?: true }> }
  const paths = Object.entries(packages).filter(([path, { dev, peer }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && !dev && !peer).map(([path]) => path)
  await run('cp', ['-a', '--parents', ...paths, folder], { cwd: root })
  removeUnused(join(folder, 'node_modules'))
  await writeFile(join(folder, 'node_modules', '.set-up'), `${createHash('sha256').update(lock).digest('hex')} production\n`)
}

/** Copies the built pages of the `stage` feature from this checkout, so that the image build can skip this step. */
export async function copyPages (folder: string): Promise<void> {
  await cp(join(root, 'features/stage/.built'), join(folder, 'features/stage/.built'), { recursive: true })
}

/** @returns the size of a folder on disk in megabytes, without the media worker */
export async function sizeOf (folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const sizes = await Promise.all(entries
    .filter((entry) => entry.isFile() && !join(entry.parentPath, entry.name).includes('/mediasoup/worker/'))
    .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).blocks * 512))
  return sizes.reduce((sum, size) => sum + size, 0) / 1e6
}

/** @returns the names of all packages in a node_modules folder */
export async function packagesIn (folder: string): Promise<string[]> {
  const files = await Array.fromAsync(glob('{*,@*/*}/package.json', { cwd: folder }))
  return files.map(dirname)
}
