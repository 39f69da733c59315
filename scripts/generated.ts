import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')

/**
 * Writes generated files. With `--check` on the command line, writes nothing and sets the exit code to 1 if a file is
 * stale.
 *
 * @param files the files' contents, by path relative to the project's root
 * @param command the command that generates the files
 */
export function writeGenerated (files: Readonly<Record<string, string>>, command: string): void {
  const check = process.argv.includes('--check')
  for (const [path, text] of Object.entries(files)) {
    const file = join(root, path)
    if (!check) writeFileSync(file, text)
    else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
      console.error(`${path} is stale: ${command}`)
      process.exitCode = 1
    }
  }
}
