import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { spawnSync } from 'node:child_process'
import { arch, availableParallelism, platform, release, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cachePath, findCommand, run } from './shell.mjs'
import { installPackages, missingPackages } from './system.mjs'
import { note, SetupError, step } from './report.mjs'

const here = dirname(fileURLToPath(import.meta.url))

// How long the official download may take. It is about 3 MB: whoever can reach
// it has it by then, and whoever can't should not wait for a network's time-out.
const downloadLimitMs = 20_000

// mediasoup's worker ends with this code when it is started without the
// environment mediasoup gives it (its own installer tests a binary this way).
const exitWithoutVersion = 41

// MS_USE_BUILTIN_BWE: the built-in bandwidth estimator, so that libwebrtc and
// abseil stay out.
const compileFlags = '-std=c++20 -O2 -w -DMS_LITTLE_ENDIAN -DMS_EXECUTABLE -DNDEBUG -DFLATBUFFERS_LOCALE_INDEPENDENT=1 -DMS_USE_BUILTIN_BWE'
const linkFlags = '-static-libstdc++ -static-libgcc -lsrtp2 -Wl,-Bstatic -luv_a -lssl -lcrypto -lflatbuffers -Wl,-Bdynamic -lpthread -ldl -lrt'

// Where OpenSSL is built with kernel TLS, as Debian's is, it asks the BIO
// whether that is in use. The worker's BIO callback answers 1 to every such
// question, because it takes only an operation that *equals* BIO_CB_RETURN for
// a return, though it is a flag. OpenSSL then allocates no write buffer and the
// worker dies at the first DTLS ClientHello.
const dtlsSource = 'src/RTC/DtlsTransport.cpp'
const dtlsFault = '(operationType == BIO_CB_RETURN)'
const dtlsMended = '((operationType & BIO_CB_RETURN) != 0)'

/**
 * Puts the media worker where mediasoup looks for it, unless one is there or
 * `MEDIASOUP_WORKER_BIN` names one. In this order: one kept in the user cache,
 * mediasoup's own prebuilt download, a build from the sources in the npm
 * package against the distribution's libraries.
 *
 * @param {string} root the checkout, with its dependencies installed
 * @returns {Promise<void>}
 * @throws {SetupError} when there is no way to get one here
 */
export async function ensureMediaWorker (root) {
  if (process.env.MEDIASOUP_WORKER_BIN) {
    if (runs(process.env.MEDIASOUP_WORKER_BIN)) return
    throw new SetupError(`MEDIASOUP_WORKER_BIN names ${process.env.MEDIASOUP_WORKER_BIN}, which does not run here.`)
  }
  const mediasoup = join(root, 'node_modules', 'mediasoup')
  const target = join(mediasoup, 'worker', 'out', 'Release', 'mediasoup-worker')
  if (existsSync(target)) return

  const { version } = JSON.parse(readFileSync(join(mediasoup, 'package.json'), 'utf8'))
  const kept = cachePath('mediasoup-worker', `${version}-${platform()}-${arch()}-${recipe()}`)
  if (!existsSync(kept) || !runs(kept)) {
    await mkdir(dirname(kept), { recursive: true })
    const draft = `${kept}.${process.pid}`
    await step(`media worker of mediasoup ${version}`, async (progress) => {
      await download(version, draft, progress) || await build(join(mediasoup, 'worker'), draft, progress)
    })
    await rename(draft, kept)
    note(`kept as ${kept}`)
  }
  await mkdir(dirname(target), { recursive: true })
  await copyFile(kept, `${target}.${process.pid}`)
  await rename(`${target}.${process.pid}`, target)
}

/** @returns {string} a short hash that changes when what is built from the same sources would */
function recipe () {
  const hash = createHash('sha256').update([compileFlags, linkFlags, dtlsFault, dtlsMended].join('\n'))
  for (const file of ['worker/srtp.h', 'worker/ankerl/unordered_dense.h']) hash.update(readFileSync(join(here, file)))
  return hash.digest('hex').slice(0, 12)
}

/**
 * @param {string} binary
 * @returns {boolean} whether it is a media worker this machine can run
 */
function runs (binary) {
  return spawnSync(binary, [], { env: {}, timeout: 10_000 }).status === exitWithoutVersion
}

/**
 * @param {string} version of mediasoup
 * @param {string} path where the worker is put
 * @param {(text: string) => void} progress
 * @returns {Promise<boolean>} false when it can't be had within the limit
 */
async function download (version, path, progress) {
  const kernel = platform() === 'linux' ? `-kernel${release().split('.')[0]}` : ''
  const archive = `mediasoup-worker-${version}-${platform()}-${arch()}${kernel}.tgz`
  const base = process.env.MEDIASOUP_WORKER_PREBUILT_DOWNLOAD_BASE_URL ||
    'https://github.com/versatica/mediasoup/releases/download'
  const folder = await freshFolder(`mediasoup-worker-download-${process.pid}`)
  try {
    const response = await fetch(`${base}/${version}/${archive}`, { signal: AbortSignal.timeout(downloadLimitMs) })
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    await writeFile(join(folder, archive), Buffer.from(await response.arrayBuffer()))
    await run('tar', ['-xzf', archive], { cwd: folder })
    const binary = join(folder, 'mediasoup-worker')
    await chmod(binary, 0o755)
    if (!runs(binary)) throw new Error('it does not run on this machine')
    await copyFile(binary, path)
    progress('downloaded')
    return true
  } catch (error) {
    progress(`the official download can't be had here (${error.cause?.code ?? error.message}), so it is built from the npm package's sources`)
    return false
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Compiles the worker against the distribution's own libraries. All but
 * libsrtp (which Debian builds upon NSS) are linked in, so that where the
 * result runs only the C library and libsrtp2-1 are needed. What is compiled
 * stays in the cache until it is done: an interrupted build goes on where it was.
 *
 * @param {string} sources mediasoup's `worker` folder
 * @param {string} path where the worker is put
 * @param {(text: string) => void} progress
 * @returns {Promise<void>}
 */
async function build (sources, path, progress) {
  if (platform() !== 'linux') {
    throw new SetupError('The media worker could not be downloaded, and this set-up builds it on Linux only. Build mediasoup-worker as mediasoup.org tells and name it in MEDIASOUP_WORKER_BIN.')
  }
  const missing = [
    ...(findCommand('g++') ? [] : ['g++']),
    ...(findCommand('ninja') ? [] : ['ninja-build']),
    ...(findCommand('flatc') ? [] : ['flatbuffers-compiler']),
    ...missingPackages({
      '/usr/include/uv.h': 'libuv1-dev',
      '/usr/include/openssl/ssl.h': 'libssl-dev',
      '/usr/include/srtp2/srtp.h': 'libsrtp2-dev',
      '/usr/include/flatbuffers/flatbuffers.h': 'libflatbuffers-dev'
    })
  ]
  if (missing.length) await installPackages('building the media worker', missing)

  const folder = `${path.replace(/\.\d+$/, '')}.build`
  await mkdir(folder, { recursive: true })
  const schemas = (await readdir(join(sources, 'fbs'))).filter((file) => file.endsWith('.fbs'))
  if (!existsSync(join(folder, 'FBS'))) {
    await run('flatc', [
      '--cpp', '--cpp-field-case-style', 'lower', '--reflect-names', '--scoped-enums', '--filename-suffix', '',
      '-o', join(folder, 'FBS'), ...schemas.map((file) => join(sources, 'fbs', file))
    ])
  }
  await writeFile(join(folder, 'build.ninja'), await ninjaFile(sources, folder))
  let shown = 0
  await run('ninja', ['-j', String(availableParallelism())], {
    cwd: folder,
    env: { ...process.env, NINJA_STATUS: '[%f/%t] ' },
    onLine: (line) => {
      const [, done, all] = line.match(/^\[(\d+)\/(\d+)\]/) ?? []
      const percent = Math.floor(Number(done) / Number(all) * 10) * 10
      if (percent > shown) {
        shown = percent
        progress(`compiled ${percent} % (${done} of ${all} files)`)
      }
    }
  })
  const binary = join(folder, 'mediasoup-worker')
  if (!runs(binary)) throw new SetupError(`The media worker was built but does not run here: ${binary}`)
  await copyFile(binary, path)
  await rm(folder, { recursive: true, force: true })
}

/**
 * @param {string} sources mediasoup's `worker` folder
 * @param {string} folder where it is built, with the generated headers in FBS/
 * @returns {Promise<string>} build.ninja
 */
async function ninjaFile (sources, folder) {
  const meson = await readFile(join(sources, 'meson.build'), 'utf8')
  const list = meson.match(/common_sources = \[([^\]]*)\]/)?.[1]
  if (!list) throw new SetupError("mediasoup's meson.build no longer lists its sources as common_sources; the build recipe must follow.")
  const files = [...list.matchAll(/'(.+?)'/g)].map(([, file]) => file).concat('src/main.cpp')

  const includes = [join(here, 'worker'), folder, join(sources, 'include')].map((path) => `-I${path}`).join(' ')
  const patched = await patchDtls(sources, folder)
  return [
    'rule compile',
    `  command = g++ ${compileFlags} ${includes} -MMD -MF $out.d -c $in -o $out`,
    'rule link',
    `  command = g++ -o $out $in ${linkFlags}`,
    ...files.map((file) => `build ${object(file)}: compile ${patched[file] ?? join(sources, file)}`),
    `build mediasoup-worker: link ${files.map(object).join(' ')}`,
    ''
  ].join('\n')
}

/** @param {string} file */
const object = (file) => file.replace(/\.cpp$/, '.o')

/**
 * @param {string} sources
 * @param {string} folder where the mended copy is put
 * @returns {Promise<Record<string, string>>} source file → path of its mended copy
 */
async function patchDtls (sources, folder) {
  const text = await readFile(join(sources, dtlsSource), 'utf8')
  if (!text.includes(dtlsFault)) return {}
  const copy = join(folder, 'patched', basename(dtlsSource))
  await mkdir(dirname(copy), { recursive: true })
  await writeFile(copy, text.replace(dtlsFault, dtlsMended))
  return { [dtlsSource]: copy }
}

/** @param {string} name */
async function freshFolder (name) {
  const folder = join(tmpdir(), name)
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  return folder
}
