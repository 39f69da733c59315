import type { IncomingMessage, ServerResponse } from 'node:http'
import { roomId as roomIdSchema } from 'flylive-audio-server/feature'
import type { HttpHandler } from 'flylive-audio-server/feature'
import type { Codec } from './part-cutter.ts'
import type { Answer, Rendition } from './rendition.ts'
import { targetDuration } from './timeline.ts'
import type { BroadcastWindow } from './window.ts'

export interface ServeOptions {
  /** @returns undefined if the room is not on air */
  find (roomId: string): Promise<BroadcastWindow | undefined>
  /**
   * Whether a room is on air, even if no server packages the room at the moment (for example because another server is
   * taking over the broadcast).
   */
  isOnAir (roomId: string): Promise<boolean>
  /** @returns undefined if the room is not on air or its broadcast is not encrypted */
  keyOf (roomId: string): Promise<Uint8Array | undefined>
  /** Whether a token gives access to the encryption key of a room's broadcast. */
  isToken (token: string, roomId: string): boolean
  /** The URL of a room's master playlist. It is on the CDN if one is configured. */
  urlOf (roomId: string): string
  /** Returns the data for the listening page, as JSON. */
  info (roomId: string): Promise<string>
  /** Counts an HLS request in the metrics. */
  count (kind: 'master' | 'playlist' | 'blocking' | 'segment' | 'part' | 'init' | 'key' | 'info', status: number): void
}

const types = { playlist: 'application/vnd.apple.mpegurl', media: 'audio/mp4', key: 'application/octet-stream', json: 'application/json; charset=utf-8', text: 'text/plain; charset=utf-8' }
const immutable = 'public, max-age=60, immutable'
/**
 * These headers let pages from any origin read the responses, because the page with the player and the CDN may have
 * different origins.
 */
const shared = {
  'access-control-allow-origin': '*',
  'cross-origin-resource-policy': 'cross-origin',
  'x-content-type-options': 'nosniff',
  'timing-allow-origin': '*'
}

interface Response {
  status: number
  type?: keyof typeof types
  cache?: string
  body?: string | Uint8Array
}

/** Serves `/hls/:roomId/…`: playlists, segments, parts, initialization sections, the key and `info`. */
export function createHlsHandler (options: ServeOptions): HttpHandler {
  return async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const cancelled = new AbortController()
    response.once('close', () => cancelled.abort())
    if (request.method === 'OPTIONS') return send(request, response, { status: 204 })
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(request, response, error(405, 'Only GET and HEAD are allowed'))
    const answer = await answerTo(url, options, cancelled.signal)
    if (!response.destroyed) send(request, response, answer)
  }
}

async function answerTo (url: URL, options: ServeOptions, signal: AbortSignal): Promise<Response> {
  const [, room = '', file = '', ...rest] = url.pathname.slice(1).split('/')
  const roomId = decode(room)
  if (roomId === undefined || rest.length > 0 || !roomIdSchema.safeParse(roomId).success) return notFound()
  const count = (kind: Parameters<ServeOptions['count']>[0], answer: Response) => {
    options.count(kind, answer.status)
    return answer
  }

  const token = url.searchParams.get('token')
  if (file === 'key') return count('key', await keyAnswer(roomId, token, options))
  const window = await options.find(roomId)
  if (!window) {
    if (await options.isOnAir(roomId)) return { ...error(503, 'The broadcast is starting'), cache: 'no-store' }
    // The listening page uses this URL to ask the CDN, instead of this server, whether the room is on air.
    return file === 'info' ? notFound({ hlsUrl: options.urlOf(roomId) }) : notFound()
  }
  const suffix = token !== null && window.options.key && options.isToken(token, roomId) ? `?token=${encodeURIComponent(token)}` : ''

  if (file === 'index.m3u8') {
    window.lastRequest = performance.now()
    return count('master', { status: 200, type: 'playlist', cache: 'public, max-age=1', body: window.master(suffix) })
  }
  if (file === 'info') return count('info', { status: 200, type: 'json', cache: 'public, max-age=1', body: await options.info(roomId) })

  const playlistOf = file === 'live.m3u8' ? 'aac' : file === 'opus.m3u8' ? 'opus' : undefined
  if (playlistOf) {
    const rendition = window.renditions.get(playlistOf)
    if (!rendition) return notFound()
    const [segment, part] = [numberParam(url, '_HLS_msn'), numberParam(url, '_HLS_part')]
    if (segment === 'invalid' || part === 'invalid') return count('playlist', error(400, '_HLS_msn and _HLS_part must be numbers'))
    const isBlocking = window.options.lowLatency && (segment !== undefined || part !== undefined)
    window.countRequest(isBlocking)
    const answer = await rendition.playlist(isBlocking ? segment : undefined, isBlocking ? part : undefined, suffix, signal)
    return count(isBlocking ? 'blocking' : 'playlist', respond(answer, 'playlist', isBlocking ? `public, max-age=${6 * targetDuration}` : 'public, max-age=1'))
  }

  const media = /^(aac|opus)-(?:(init)\.mp4|(\d{1,15})(?:\.(\d{1,2}))?\.m4s)$/.exec(file)
  const rendition: Rendition | undefined = window.renditions.get(media?.[1] as Codec)
  if (!media || !rendition) return notFound()
  const [, , init, segment, part] = media
  if (init !== undefined) return count('init', rendition.init ? { status: 200, type: 'media', cache: 'public, max-age=60', body: rendition.init } : notFound())
  if (part === undefined) return count('segment', respond(rendition.segment(Number(segment)), 'media', immutable))
  return count('part', respond(await rendition.part({ segment: Number(segment), part: Number(part) }, signal), 'media', immutable))
}

async function keyAnswer (roomId: string, token: string | null, { isToken, keyOf }: ServeOptions): Promise<Response> {
  const key = await keyOf(roomId)
  if (!key) return { ...notFound(), cache: 'no-store' }
  if (token === null || !isToken(token, roomId)) return { ...error(403, 'The key requires a token for this room: POST /api/token'), cache: 'no-store' }
  return { status: 200, type: 'key', cache: 'no-store', body: key }
}

function respond (answer: Answer<string | Uint8Array>, type: keyof typeof types, cache: string): Response {
  switch (answer.kind) {
    case 'found': return { status: 200, type, cache, body: answer.value }
    case 'missing': return notFound()
    case 'invalid': return error(400, 'The requested segment is too far ahead, or _HLS_part was sent without _HLS_msn')
    case 'held': return { ...error(503, 'No new part was available in time'), cache: 'no-store' }
  }
}

const codes: Record<number, string> = { 400: 'VALIDATION_FAILED', 403: 'FORBIDDEN', 404: 'NOT_FOUND', 405: 'METHOD_NOT_ALLOWED', 503: 'UNAVAILABLE' }
const error = (status: number, message: string, details: object | undefined = status === 400 ? [{ path: '', message }] : undefined): Response => ({ status, type: 'json', cache: 'public, max-age=1', body: JSON.stringify({ error: { code: codes[status], message, details } }) })
const notFound = (details?: object) => error(404, 'The broadcast or file does not exist', details)

function send (request: IncomingMessage, response: ServerResponse, { status, type, cache, body = '' }: Response): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  response.writeHead(status, {
    ...shared,
    ...(type ? { 'content-type': types[type] } : {}),
    ...(cache === undefined ? {} : { 'cache-control': cache }),
    ...(status === 503 ? { 'retry-after': '1' } : {}),
    ...(status === 204 ? { 'access-control-allow-methods': 'GET, HEAD', 'access-control-allow-headers': '*', 'access-control-max-age': '86400' } : { 'content-length': bytes.length })
  })
  response.end(request.method === 'HEAD' || status === 204 ? undefined : bytes)
}

function decode (text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {}
}

function numberParam (url: URL, name: string): number | undefined | 'invalid' {
  const text = url.searchParams.get(name)
  if (text === null) return
  return /^\d{1,15}$/.test(text) ? Number(text) : 'invalid'
}
