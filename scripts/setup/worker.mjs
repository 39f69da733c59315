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

// Timeout for the official download (about 3 MB), in milliseconds. The timeout is short, so that the setup does not
// wait long on a machine without internet access.
const downloadLimitMs = 20_000

// The exit code of mediasoup's worker if the worker starts without the environment variables that mediasoup sets.
// mediasoup's own installer tests a binary in the same way.
const exitWithoutVersion = 41

// MS_USE_BUILTIN_BWE selects the built-in bandwidth estimator, which needs neither
// libwebrtc nor abseil.
const compileFlags = '-std=c++20 -O2 -w -DMS_LITTLE_ENDIAN -DMS_EXECUTABLE -DNDEBUG -DFLATBUFFERS_LOCALE_INDEPENDENT=1 -DMS_USE_BUILTIN_BWE'
const linkFlags = '-static-libstdc++ -static-libgcc -lsrtp2 -Wl,-Bstatic -luv_a -lssl -lcrypto -lflatbuffers -Wl,-Bdynamic -lpthread -ldl -lrt'

// An OpenSSL with support for kernel TLS, as in Debian, asks the BIO whether kernel TLS is active. The worker's BIO
// callback wrongly returns 1: it tests whether the operation *equals* BIO_CB_RETURN, although BIO_CB_RETURN is a flag.
// Therefore, OpenSSL allocates no write buffer, and the worker crashes at the first DTLS ClientHello.
const dtlsSource = 'src/RTC/DtlsTransport.cpp'
const dtlsFault = '(operationType == BIO_CB_RETURN)'
const dtlsMended = '((operationType & BIO_CB_RETURN) != 0)'

/**
 * Installs the media worker where mediasoup expects it, unless it is already there or
 * `MEDIASOUP_WORKER_BIN` names a different one. Tries, in this order: the copy in the user cache,
 * mediasoup's prebuilt download, and a build of the npm package's sources against the
 * distribution's libraries.
 *
 * @param {string} root the checkout, with its dependencies installed
 * @returns {Promise<void>}
 * @throws {SetupError} if none of these succeeds
 */
export async function ensureMediaWorker (root) {
  if (process.env.MEDIASOUP_WORKER_BIN) {
    if (runs(process.env.MEDIASOUP_WORKER_BIN)) return
    throw new SetupError(`MEDIASOUP_WORKER_BIN is ${process.env.MEDIASOUP_WORKER_BIN}, which does not run on this machine.`)
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
    note(`cached as ${kept}`)
  }
  await mkdir(dirname(target), { recursive: true })
  await copyFile(kept, `${target}.${process.pid}`)
  await rename(`${target}.${process.pid}`, target)
}

/** @returns {string} a short hash of everything except the sources that affects the result of the build */
function recipe () {
  const hash = createHash('sha256').update([compileFlags, linkFlags, dtlsFault, dtlsMended].join('\n'))
  for (const file of ['worker/srtp.h', 'worker/ankerl/unordered_dense.h']) hash.update(readFileSync(join(here, file)))
  return hash.digest('hex').slice(0, 12)
}

/**
 * @param {string} binary
 * @returns {boolean} whether the binary is a media worker that this machine can run
 */
function runs (binary) {
  return spawnSync(binary, [], { env: {}, timeout: 10_000 }).status === exitWithoutVersion
}

/**
 * @param {string} version mediasoup's version
 * @param {string} path destination of the worker
 * @param {(text: string) => void} progress
 * @returns {Promise<boolean>} false if the download fails or exceeds the timeout
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
    progress(`the prebuilt worker cannot be used (${error.cause?.code ?? error.message}), so the worker is compiled from the sources in the npm package`)
    return false
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * Compiles the worker against the distribution's libraries. All libraries except libsrtp are linked statically
 * (Debian's libsrtp needs NSS), so the worker needs only the C library and libsrtp2-1. Object files stay in the cache
 * until the build succeeds, so that an interrupted build can continue.
 *
 * @param {string} sources mediasoup's `worker` folder
 * @param {string} path destination of the worker
 * @param {(text: string) => void} progress
 * @returns {Promise<void>}
 */
async function build (sources, path, progress) {
  if (platform() !== 'linux') {
    throw new SetupError('The media worker could not be downloaded, and this setup can compile it only on Linux. Build mediasoup-worker as described on mediasoup.org and set MEDIASOUP_WORKER_BIN to its path.')
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
  if (!runs(binary)) throw new SetupError(`The media worker was built but does not run on this machine: ${binary}`)
  await copyFile(binary, path)
  await rm(folder, { recursive: true, force: true })
}

/**
 * @param {string} sources mediasoup's `worker` folder
 * @param {string} folder the build folder, with the generated headers in FBS/
 * @returns {Promise<string>} the content of build.ninja
 */
async function ninjaFile (sources, folder) {
  const meson = await readFile(join(sources, 'meson.build'), 'utf8')
  const list = meson.match(/common_sources = \[([^\]]*)\]/)?.[1]
  if (!list) throw new SetupError("mediasoup's meson.build no longer lists its sources as common_sources. Update the build recipe.")
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
 * @param {string} folder the build folder; the patched copy is written to its `patched` folder
 * @returns {Promise<Record<string, string>>} the path of the patched copy, by source file; empty if no patch is needed
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
