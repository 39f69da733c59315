import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { note } from './report.mjs'
import { run } from './shell.mjs'

/**
 * Builds the pages of the feature `stage`, unless they are as their sources are,
 * so that the first start need not. A page with a mistake in it stops nothing
 * else: the feature says so when it is loaded. An image that is being made for
 * production has no sources yet, and needs no pages.
 *
 * @param {string} root the checkout
 * @param {string} node the Node that runs the server
 * @returns {Promise<void>}
 */
export async function ensurePages (root, node) {
  const script = join(root, 'features', 'stage', 'build.ts')
  if (existsSync(script)) await run(node, [script], { cwd: root }).catch((error) => note(`The pages of the stage cannot be built: ${error.message}`))
}
