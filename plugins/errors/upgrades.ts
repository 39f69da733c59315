import { STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import { toWire } from './codes.ts'
import type { CodedError } from './codes.ts'

/** Maximum length of a path or a header in a log line, in characters. */
const maxLogged = 200

/**
 * Logs and rejects a WebSocket upgrade.
 *
 * @param headers additional header lines of the response
 */
export function refuseUpgrade (log: FastifyBaseLogger, request: IncomingMessage, socket: Duplex, error: CodedError, headers?: readonly string[]): void {
  const short = (text: string | undefined) => text?.slice(0, maxLogged)
  log.warn({ code: error.code, path: short(request.url?.split('?', 1)[0]), address: request.socket.remoteAddress, origin: short(request.headers.origin) }, `connection rejected: ${short(error.message)}`)
  rejectUpgrade(socket, error, headers)
}

/** Rejects an upgrade with an HTTP error and closes its socket. */
export function rejectUpgrade (socket: Duplex, error: unknown, headers: readonly string[] = []): void {
  const { status, wire } = toWire(error)
  const body = JSON.stringify({ error: wire })
  socket.on('error', () => socket.destroy())
  socket.end([
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    ...headers,
    '',
    body
  ].join('\r\n'))
}
