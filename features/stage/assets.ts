import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A file of the page, ready to be sent. */
export interface Asset {
  type: string
  text: string
  /** Says which version it is: it follows from the text. */
  etag: string
}

const folder = join(import.meta.dirname, 'page')

/**
 * Reads the page from disk and bundles its code, with the client of this
 * project in it. Everything stays in memory.
 *
 * @param options.sourceMap whether a debugger may see the original code
 * @returns the files by the paths under which the page finds them
 * @throws when the code can't be bundled; the message has file and line
 */
export async function readPage ({ sourceMap }: { sourceMap: boolean }): Promise<Map<string, Asset>> {
  const [html, css, code] = await Promise.all([
    readFile(join(folder, 'index.html'), 'utf8'),
    readFile(join(folder, 'style.css'), 'utf8'),
    bundle(sourceMap)
  ])
  return new Map([
    ['/', asset('text/html; charset=utf-8', html)],
    ['/stage/style.css', asset('text/css; charset=utf-8', css)],
    ['/stage/app.js', asset('text/javascript; charset=utf-8', code)]
  ])
}

async function bundle (sourceMap: boolean): Promise<string> {
  // Loaded only here: where the page is off, so is its bundler. Its process is
  // one for all loads, and ends with this one.
  const { build } = await import('esbuild')
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'main.ts')],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    sourcemap: sourceMap ? 'inline' : false,
    write: false,
    logLevel: 'silent'
  })
  const [output] = outputFiles
  if (!output) throw new Error('esbuild made nothing')
  return output.text
}

function asset (type: string, text: string): Asset {
  return { type, text, etag: `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"` }
}
