// Generates docs/contract/: the documents that a server with all features serves under /docs.
//
//   npm run docs:contract              writes openapi.json, asyncapi.json and README.md
//   npm run docs:contract -- --check   writes nothing; exits with 1 if a file is stale
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { documentsOf } from '../features/docs/documents.ts'
import { contractMarkdown } from '../features/docs/markdown.ts'
import { writeGenerated } from './generated.ts'
import { wholeApp } from './whole-app.ts'

const root = resolve(import.meta.dirname, '..')
const folder = 'docs/contract'

/**
 * Starts a server that opens no port and has every feature in features/ enabled, and
 * renders its contract. The result does not depend on the machine or the environment.
 *
 * @returns the contents of the generated files, by path
 */
export async function contractDocs (): Promise<Record<string, string>> {
  const app = await wholeApp()
  try {
    const documents = documentsOf(app.contract(), app.config)
    return {
      [`${folder}/openapi.json`]: JSON.stringify(documents.openapi, null, 2) + '\n',
      [`${folder}/asyncapi.json`]: JSON.stringify(documents.asyncapi, null, 2) + '\n',
      [`${folder}/README.md`]: contractMarkdown(documents)
    }
  } finally {
    await app.close()
  }
}

if (import.meta.main) {
  mkdirSync(join(root, folder), { recursive: true })
  writeGenerated(await contractDocs(), 'npm run docs:contract')
}
