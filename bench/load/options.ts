import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { createSigner } from 'fast-jwt'
import { addressOf } from '../../client/address.ts'

export interface LoadOptions {
  /** Base URL of the server. */
  url: string
  rooms: number
  /** Number of speakers per room. */
  speakers: number
  /** Number of listeners per room. */
  listeners: number
  mode: 'voices' | 'mix'
  /** Duration of the measurement after everyone has joined. */
  seconds: number
  /** How many participants begin to join per second. */
  ramp: number
  /** Prefix of the room ids: `name-1`, `name-2` and so on. */
  room: string
  /** @returns the token of participant `index`, counted from 0 */
  tokenOf: (index: number) => string
}

/** Thrown if the command line is invalid. */
export class UsageError extends Error {}

export const usage = `Simulates speakers and listeners on an audio server, and measures what they experience.

  npm run load -- --url URL (--secret SECRET | --tokens FILE) [options]

  --url URL          address of the server (default http://127.0.0.1:3030)
  --secret SECRET    signs the participants' tokens; default: the variable JWT_SECRET
  --tokens FILE      file with one token per line, used instead of a secret: first the
                     speakers' tokens, then the listeners'
  --claims JSON      additional claims for signed tokens, such as '{"aud":"audio"}'
  --mode MODE        mix (default): each listener receives the room's mix;
                     voices: each listener receives every speaker
  --rooms N          rooms, 1 to 500 (default 1)
  --speakers N       speakers per room, 0 to 100 (default 2); at most 15 if rooms have seats
  --listeners N      listeners per room, 0 to 5000 (default 10)
  --seconds N        duration of the measurement after everyone has joined, 1 to 3600 (default 30)
  --ramp N           participants that start to join per second, 1 to 1000 (default 20)
  --room NAME        prefix of the room ids NAME-1, NAME-2, … (default: load- and random characters)
  --json             prints the result as JSON
  --help             prints this text
`

/** Maximum number of participants per process, so that a mistyped number does not overload the machine. */
const maxParticipants = 10_000

const flags = {
  url: { type: 'string', default: 'http://127.0.0.1:3030' },
  secret: { type: 'string' },
  tokens: { type: 'string' },
  claims: { type: 'string' },
  mode: { type: 'string', default: 'mix' },
  rooms: { type: 'string', default: '1' },
  speakers: { type: 'string', default: '2' },
  listeners: { type: 'string', default: '10' },
  seconds: { type: 'string', default: '30' },
  ramp: { type: 'string', default: '20' },
  room: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false }
} as const

/**
 * @param args the arguments of the program
 * @param env environment variables; `JWT_SECRET` is used if `--secret` is missing
 * @returns `load`: the options of the load test; `json`: true if the report is printed as JSON. Undefined if the
 *   arguments contain `--help`
 * @throws UsageError
 */
export function parseOptions (args: string[], env: NodeJS.ProcessEnv): { load: LoadOptions, json: boolean } | undefined {
  const values = parse(args)
  if (values.help) return
  const number = (name: 'rooms' | 'speakers' | 'listeners' | 'seconds' | 'ramp', min: number, max: number): number => {
    const value = /^\d+$/.test(values[name]) ? Number(values[name]) : NaN
    if (!(value >= min && value <= max)) throw new UsageError(`--${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(values[name])}`)
    return value
  }
  const counts = {
    rooms: number('rooms', 1, 500),
    speakers: number('speakers', 0, 100),
    listeners: number('listeners', 0, 5000),
    seconds: number('seconds', 1, 3600),
    ramp: number('ramp', 1, 1000)
  }
  const participants = counts.rooms * (counts.speakers + counts.listeners)
  if (participants > maxParticipants) throw new UsageError(`--rooms × (--speakers + --listeners) is ${participants}; at most ${maxParticipants} participants are allowed`)
  if (participants === 0) throw new UsageError('--speakers and --listeners are both 0')
  const { mode, room = `load-${Math.random().toString(36).slice(2, 10)}` } = values
  if (mode !== 'voices' && mode !== 'mix') throw new UsageError(`--mode must be voices or mix, not ${JSON.stringify(mode)}`)
  if (!/^[A-Za-z0-9_.:-]{1,120}$/.test(room)) throw new UsageError('--room must have 1 to 120 letters, digits and _ . : -')
  return {
    load: { url: checkedUrl(values.url), ...counts, mode, room, tokenOf: tokensFrom(values, env, participants, counts.seconds) },
    json: values.json
  }
}

function parse (args: string[]) {
  try {
    return parseArgs({ args, options: flags }).values
  } catch (error) {
    // Keep only the first sentence of Node's message, which names the option. The other sentences explain Node's
    // syntax.
    throw new UsageError(String((error as Error).message).split('. ')[0])
  }
}

function checkedUrl (url: string): string {
  try {
    addressOf(url, '/ws', 'ws')
    return url
  } catch (error) {
    throw new UsageError(`--url must be an address such as https://audio.example.com, not ${JSON.stringify(url)}: ${(error as Error).message}`)
  }
}

function tokensFrom ({ secret: given, tokens: file, claims: json }: { secret?: string, tokens?: string, claims?: string }, env: NodeJS.ProcessEnv, participants: number, seconds: number): (index: number) => string {
  if (given !== undefined && file !== undefined) throw new UsageError('Use either --secret or --tokens')
  if (file !== undefined) {
    const tokens = readTokens(file)
    if (tokens.length < participants) throw new UsageError(`${file} has ${tokens.length} tokens, but there are ${participants} participants`)
    return (index) => tokens[index] as string
  }
  const secret = given ?? env.JWT_SECRET ?? ''
  if (secret === '') throw new UsageError('--secret, the variable JWT_SECRET, or --tokens is required')
  if (secret.length < 32) throw new UsageError('--secret must have at least 32 characters, like JWT_SECRET on the server')
  const sign = createSigner({ key: secret, algorithm: 'HS256', expiresIn: `${seconds + 3600}s` })
  const claims = json === undefined ? {} : parseClaims(json)
  const run = Math.random().toString(36).slice(2, 8)
  return (index) => sign({ id: `load-${run}-${index + 1}`, name: `Load ${index + 1}`, ...claims })
}

function readTokens (file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').map((line) => line.trim()).filter((line) => line !== '')
  } catch (error) {
    throw new UsageError(`cannot read --tokens: ${(error as Error).message}`)
  }
}

function parseClaims (json: string): Record<string, unknown> {
  try {
    const claims = JSON.parse(json) as unknown
    if (typeof claims === 'object' && claims !== null && !Array.isArray(claims)) return claims as Record<string, unknown>
  } catch { /* The next line throws the error. */ }
  throw new UsageError(`--claims must be a JSON object, not ${JSON.stringify(json)}`)
}
