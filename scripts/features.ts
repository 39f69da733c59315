// Lists and changes the features of a running server through its admin API.
//
//   npm run features -- list
//   npm run features -- enable NAME [--cascade]
//   npm run features -- disable NAME [--cascade]
//   npm run features -- reload NAME
//   npm run features -- rescan
//   npm run features -- config NAME [KEY=VALUE … | KEY=null …]
//
// --url   the server's address (default: from the .env in this folder)
// --key   one of the server's admin keys (default: the first of ADMIN_API_KEY)
// --json  prints the response body
//
// Exits with 1 if the call fails, or if `rescan` cannot load a feature.
import { request as overHttp } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as overHttps } from 'node:https'
import { parseArgs } from 'node:util'
import { readEnvFile } from '../config/env-file.ts'
import { ConfigError } from '../config/error.ts'

const usage = `npm run features -- list
npm run features -- enable NAME [--cascade]     with --cascade: also enables its dependencies
npm run features -- disable NAME [--cascade]    with --cascade: also disables its dependents
npm run features -- reload NAME                 reloads the code from disk
npm run features -- rescan                      loads new folders and unloads deleted ones
npm run features -- config NAME                 shows the feature's settings
npm run features -- config NAME KEY=VALUE …     changes settings; VALUE is JSON or a string, null resets a setting

  --url URL   URL of the server; by default from HOST, PORT and SSL_KEY_PATH
  --key KEY   an admin key; by default the first of ADMIN_API_KEY
  --json      print the response body`

class Refusal extends Error {}

interface Feature {
  name: string
  state: string
  generation: number
  version: string | null
  error: string | null
  config: Record<string, unknown>
  configSchema: { properties?: Record<string, { description?: string }> }
  changed?: { enabled: string[], disabled: string[] }
}

interface Rescan { added: string[], removed: string[], failed: Record<string, string> }

type Answer = Feature & Rescan & { features: Feature[] }

/** A call to the admin API and the text to print on success. */
interface Command {
  method: 'GET' | 'PATCH' | 'POST'
  path: string
  body?: Record<string, unknown>
  /** Name of the feature that the call changes. */
  name?: string
  show (answer: Answer): string
  /** Returns the part of the response to print. Default: the whole response. */
  pick? (answer: Answer): unknown
}

try {
  Object.assign(process.env, { ...readEnvFile('.env'), ...process.env })
  const { command, url, key, json, inside } = read()
  const { status, body } = await call(command, url, key, inside)
  const good = status === 200
  const answer = good && command.pick ? command.pick(body as Answer) : body
  if (json) console.log(JSON.stringify(answer, null, 2))
  else if (good) console.log(command.show(answer as Answer))
  else console.error(describe(body, status, command.name))
  if (!good || Object.keys((body as Partial<Rescan>).failed ?? {}).length > 0) process.exitCode = 1
} catch (error) {
  if (!(error instanceof Refusal || error instanceof ConfigError)) throw error
  console.error(error.message)
  process.exitCode = 1
}

/** @throws {Refusal} if the arguments are invalid */
function read () {
  const { values: { cascade, json, key, url }, positionals: [action = '', ...rest] } = parse()
  const command = commandOf(action, rest, cascade)
  if (!command || (url !== undefined && !URL.canParse(url))) throw new Refusal(usage)
  return { command, json, key: checkKey(key?.trim() ?? firstKey()), url: (url ?? whereItIs()).replace(/\/+$/, ''), inside: url === undefined }
}

/** @throws {Refusal} if no server accepts the key, because a header cannot contain it */
function checkKey (key: string): string {
  if (!/^[ -~]+$/.test(key)) throw new Refusal('The admin key is invalid: a key has only ASCII characters')
  return key
}

/** @throws {Refusal} with the usage text */
function parse () {
  try {
    return parseArgs({
      options: {
        cascade: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        key: { type: 'string' },
        url: { type: 'string' }
      },
      allowPositionals: true
    })
  } catch (error) {
    throw new Refusal(`${(error as Error).message}\n\n${usage}`)
  }
}

function commandOf (action: string, [name, ...rest]: string[], cascade: boolean): Command | undefined {
  if (name === undefined) {
    if (action === 'list') return { method: 'GET', path: '', show: ({ features }) => table(features) }
    if (action === 'rescan') return { method: 'POST', path: '/rescan', show: showRescan }
    return
  }
  const path = `/${encodeURIComponent(name)}`
  if (action === 'config' && rest.length === 0) {
    return { method: 'GET', path: '', pick: ({ features }) => pick(features, name), show: showConfig }
  }
  if (action === 'config') return { method: 'PATCH', path: `${path}/config`, name, body: settings(rest), show: showConfig }
  if (rest.length > 0) return
  if (action === 'reload') return { method: 'POST', path: `${path}/reload`, name, show: showState }
  if (action === 'enable' || action === 'disable') return { method: 'POST', path: `${path}/${action}?cascade=${cascade}`, show: showState }
}

/** @throws {Refusal} if an entry is not KEY=VALUE */
function settings (texts: string[]): Record<string, unknown> {
  return Object.fromEntries(texts.map((text) => {
    const [, key, value = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? []
    if (key === undefined) throw new Refusal(`${text} is not KEY=VALUE`)
    try {
      return [key, JSON.parse(value) as unknown]
    } catch {
      return [key, value]
    }
  }))
}

/** @throws {Refusal} if no key is configured */
function firstKey (): string {
  const [key = ''] = (process.env.ADMIN_API_KEY ?? '').split(',').map((item) => item.trim()).filter(Boolean)
  if (key !== '') return key
  throw new Refusal('The admin key is missing. Pass --key KEY, or set ADMIN_API_KEY as on the server.\nIn development, a server without ADMIN_API_KEY generates a key and prints it at startup.')
}

/** @throws {Refusal} if the server's address is invalid */
function whereItIs (): string {
  const { HOST, PORT, SSL_KEY_PATH } = process.env
  const host = !HOST || HOST === '0.0.0.0' || HOST === '::' ? '127.0.0.1' : HOST
  const url = `${SSL_KEY_PATH ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${PORT?.trim() || 3030}`
  if (!URL.canParse(url)) throw new Refusal(`HOST or PORT is invalid: ${url} is not a URL. Set the URL with --url`)
  return url
}

/**
 * @param inside whether the server runs on this machine; if so, the server's certificate is not verified, because the
 *   certificate may not match the address
 * @throws {Refusal} if there is no response
 */
async function call ({ method, path, body }: Command, url: string, key: string, inside: boolean): Promise<{ status: number, body: unknown }> {
  const request = new URL(url).protocol === 'https:' ? overHttps : overHttp
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  try {
    const sent = request(`${url}/admin/features${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      agent: false,
      rejectUnauthorized: !inside,
      // The timeout is long, because the server may wait FEATURES_DRAIN_SECONDS for in-flight requests of the old
      // feature instance.
      timeout: 660_000
    }, resolve)
    sent.on('timeout', () => sent.destroy(new Error('timeout'))).on('error', reject)
    sent.end(body ? JSON.stringify(body) : undefined)
    const response = await promise
    const text = (await response.setEncoding('utf8').toArray()).join('')
    return { status: response.statusCode ?? 0, body: text === '' ? {} : JSON.parse(text) as unknown }
  } catch (error) {
    if (error instanceof SyntaxError) throw new Refusal(`The response from ${url} does not come from a FlyLive server. Set the URL with --url`)
    const { code, message } = error as { code?: string, message: string }
    throw new Refusal(`No response from ${url} (${code ?? message}). Is the server running? Set the URL with --url`)
  }
}

/**
 * Formats the server's error. If a feature failed to load, the text includes the source location.
 *
 * @param name name of the feature that the call changes
 */
function describe (body: unknown, status: number, name = 'NAME'): string {
  const { code = `HTTP ${status}`, message = '', details } = (body as { error?: { code: string, message: string, details?: unknown } }).error ?? {}
  const { file, line } = (details ?? {}) as { file?: string, line?: number }
  // If settings are invalid, print a short text instead of the server's message, which repeats the details.
  const problems = Array.isArray(details) ? details as { path: string, message: string }[] : []
  const lines = [`${code}: ${problems.length > 0 ? 'These settings are invalid' : message}`]
  if (file !== undefined) lines.push(`  at ${line === undefined ? file : `${file}:${line}`}`)
  for (const { path, message } of problems) lines.push(path === '' ? `  ${message}` : `  ${path}: ${message}`)
  if (problems.length > 0) lines.push(`  The settings and their values: npm run features -- config ${name}`)
  if (code === 'FEATURE_DISABLED') lines.push(`  To turn it on: npm run features -- enable ${name}`)
  if (code === 'NOT_FOUND') lines.push('  A server without ADMIN_API_KEY has no admin API.')
  return lines.join('\n')
}

function table (features: Feature[]): string {
  const rows = [
    ['NAME', 'STATE', 'GENERATION', 'VERSION', 'ERROR'],
    ...features.map(({ name, state, generation, version, error }) => [name, state, generation === 0 ? '-' : String(generation), version ?? '-', error?.split('\n')[0] ?? ''])
  ]
  return aligned(rows)
}

/** Pads each column except the last to the width of its widest cell. */
function aligned (rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd()).join('\n')
}

function showState ({ name, state, generation, changed = { enabled: [], disabled: [] } }: Feature): string {
  const lines = [`${name} is ${state}${generation === 0 ? '' : `, generation ${generation}`}`]
  for (const [what, names] of Object.entries(changed)) {
    const others = names.filter((other) => other !== name)
    if (others.length > 0) lines.push(`  also ${what}: ${others.join(', ')}`)
  }
  return lines.join('\n')
}

function showRescan ({ added, removed, failed }: Rescan): string {
  const lines = [
    ...added.filter((name) => !(name in failed)).map((name) => `added    ${name}`),
    ...removed.map((name) => `removed  ${name}`),
    ...Object.entries(failed).map(([name, error]) => `failed   ${name}: ${error}`)
  ]
  return lines.length > 0 ? lines.join('\n') : 'No features were added or removed'
}

/** @throws {Refusal} if the feature does not exist */
function pick (features: Feature[], name: string): Feature {
  const feature = features.find((one) => one.name === name)
  if (!feature) throw new Refusal(`FEATURE_NOT_FOUND: Feature ${name} does not exist`)
  return feature
}

function showConfig ({ name, config, configSchema: { properties = {} } }: Feature): string {
  const rows = Object.entries(properties).map(([key, { description = '' }]) => [key, key in config ? JSON.stringify(config[key]) : '-', description])
  return rows.length > 0 ? aligned([['SETTING', 'VALUE', 'MEANING'], ...rows]) : `${name} has no settings`
}
