import { existsSync, readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { ConfigError } from './error.ts'

/** Encodings and their byte order marks. */
const marks = [['utf-16le', [0xff, 0xfe]], ['utf-16be', [0xfe, 0xff]]] as const

/**
 * Reads an .env file. The encoding is UTF-8, or UTF-16 if the file starts with a byte order mark, which some Windows
 * editors write.
 *
 * @returns the variables; an empty object if the file does not exist
 * @throws {ConfigError} if the file has another encoding
 */
export function readEnvFile (path: string): Record<string, string | undefined> {
  if (!existsSync(path)) return {}
  const bytes = readFileSync(path)
  const encoding = marks.find(([, mark]) => mark.every((byte, index) => bytes[index] === byte))?.[0] ?? 'utf-8'
  let text: string
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes)
  } catch {
    throw new ConfigError([`${path}: must be a text file in UTF-8`])
  }
  if (text.includes('\0')) throw new ConfigError([`${path}: must be a text file in UTF-8`])
  return parseEnv(text)
}
