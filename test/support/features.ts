import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'

/** A folder of features outside the checkout. A test can change the folder while a server is running. */
export interface FeatureFolder {
  readonly path: string
  /**
   * Writes a feature's files.
   *
   * @param files contents by file name
   */
  write (feature: string, files: Record<string, string>): void
  remove (feature: string): void
}

export function featureFolder (t: Test): FeatureFolder {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'flylive-features-')))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return {
    path,
    write (feature, files) {
      for (const [name, text] of Object.entries(files)) {
        const file = join(path, feature, name)
        mkdirSync(dirname(file), { recursive: true })
        writeFileSync(file, text)
      }
    },
    remove: (feature) => rmSync(join(path, feature), { recursive: true })
  }
}

/**
 * Returns the source of a feature whose message `NAME:say` and route `GET /NAME` return a string.
 *
 * @param text the string to return
 * @param before code that runs when the feature starts
 */
export const saying = (name: string, text: string, { before = '', dependencies = [] as string[] } = {}) => `import fp from 'fastify-plugin'
import { z } from 'zod'
export const requests = { '${name}:say': { request: z.object({}), reply: z.object({ text: z.string() }) } }
export default fp(async function ${name.replaceAll('-', '')} (app, options) {
  ${before}
  app.messages.on('${name}:say', { ...requests['${name}:say'], room: false }, () => ({ text: ${JSON.stringify(text)} }))
  app.get('/${name}', async () => ({ text: ${JSON.stringify(text)} }))
}, { name: '${name}', dependencies: ${JSON.stringify(dependencies)} })
`
