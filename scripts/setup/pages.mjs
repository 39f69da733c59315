import { join } from 'node:path'
import { note } from './report.mjs'
import { run } from './shell.mjs'

/**
 * Builds the pages of the feature `stage`, unless they are built from the
 * current sources, so that the first start need not. A mistake in a page stops
 * nothing else: the feature reports it when it is loaded.
 *
 * @param {string} root the checkout
 * @param {string} node the Node that runs the server
 * @returns {Promise<void>}
 */
export async function ensurePages (root, node) {
  const script = join(root, 'features', 'stage', 'build.ts')
  await run(node, [script], { cwd: root }).catch((error) => note(`The pages of the stage cannot be built: ${error.message}`))
}
