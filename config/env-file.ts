import { existsSync, readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { ConfigError } from './error.ts'

/** Encodings other than UTF-8, with their byte order marks. */
const marks = [['utf-16le', [0xff, 0xfe]], ['utf-16be', [0xfe, 0xff]]] as const

/**
 * Reads an .env file. Some Windows editors write UTF-16 with a byte order mark, so the encoding is UTF-16 if the file
 * starts with such a mark. Otherwise, the encoding is UTF-8.
 *
 * @returns the variables; an empty object if the file does not exist
 * @throws {ConfigError} if the file cannot be read, or is neither UTF-8 nor UTF-16 with a byte order mark
 */
export function readEnvFile (path: string): Record<string, string | undefined> {
  if (!existsSync(path)) return {}
  const bytes = read(path)
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

function read (path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfigError([`${path}: cannot be read: ${(error as Error).message}`])
  }
}
