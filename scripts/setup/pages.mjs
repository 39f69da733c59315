import { join } from 'node:path'
import { note } from './report.mjs'
import { run } from './shell.mjs'

/**
 * Builds the pages of the `stage` feature during setup so that the first start is fast. Does nothing if the pages are
 * up to date. An error in a page does not stop the setup: the server reports the error when it loads the feature.
 *
 * @param {string} root the checkout
 * @param {string} node the Node executable that runs the server
 * @returns {Promise<void>}
 */
export async function ensurePages (root, node) {
  const script = join(root, 'features', 'stage', 'build.ts')
  await run(node, [script], { cwd: root }).catch((error) => note(`failed to build the stage pages: ${error.message}`))
}
