import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'

/** A folder of features outside the checkout, to be changed under a server's feet. */
export interface FeatureFolder {
  readonly path: string
  /** Writes files of a feature, by their names. */
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
 * A feature that answers one message, `NAME:say`, and one route, `GET /NAME`, with a text.
 *
 * @param text what they answer
 * @param before code that runs when it starts
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
