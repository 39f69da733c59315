import { STATUS_CODES } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { toWire } from '../errors/codes.ts'

/** Refuses an upgrade with an error, as HTTP, and closes its socket. */
export function refuseUpgrade (socket: Duplex, error: unknown): void {
  const { status, wire } = toWire(error)
  const body = JSON.stringify({ error: wire })
  socket.on('error', () => socket.destroy())
  socket.end([
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body
  ].join('\r\n'))
}

/** Answers a request with an error; one whose answer has begun is cut off. */
export function refuseRequest (response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const { status, wire } = toWire(error)
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...(status === 503 ? { 'retry-after': '1' } : {}) })
  response.end(JSON.stringify({ error: wire }))
}
