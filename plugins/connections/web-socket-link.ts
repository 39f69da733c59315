import type { Socket } from 'node:net'
import * as ws from 'ws'
import { WebSocket } from 'ws'
import { afterReading } from '../errors/timeout.ts'
import { closeCodes } from './close-codes.ts'
import type { CloseReason } from './close-codes.ts'
import type { Link } from './link.ts'
import type { Session } from './session.ts'

export interface WebSocketLimits {
  maxQueueBytes: number
  pingMs: number
  pongTimeoutMs: number
}

/** The close code that the ws package reports if a connection ends without a close frame (RFC 6455, section 7.1.5). */
const brokenCode = 1006
/** How long the server keeps a flooding client's connection open after sending a close frame, in milliseconds. */
const floodCloseMs = 500

/** Link over a WebSocket. Coalesces writes, limits the send queue and sends pings. */
export class WebSocketLink implements Link<Buffer> {
  // Links with buffered writes. On the next tick, all buffered writes of a link are flushed together.
  static readonly #written: WebSocketLink[] = []
  static #flush (): void {
    for (const link of WebSocketLink.#written.splice(0)) {
      link.#corked = false
      link.#socket.uncork()
    }
  }

  readonly #ws: WebSocket
  readonly #socket: Socket
  readonly #limits: WebSocketLimits
  #cancelTimer: () => void = () => {}
  #isPongDue = false
  #corked = false

  constructor (ws: WebSocket, socket: Socket, limits: WebSocketLimits) {
    this.#ws = ws
    this.#socket = socket
    this.#limits = limits
    ws.once('close', () => this.#cancelTimer())
    sendTooBigReason(ws)
    this.#schedulePing()
  }

  /** Passes the client's frames to its session, and ends the session when the client disconnects. */
  attach (session: Session): void {
    this.#ws.on('message', (data, isBinary) => session.receive(data as Buffer, isBinary))
    this.#ws.on('ping', ({ length }) => session.admit(length))
    this.#ws.on('pong', ({ length }) => {
      if (this.#isPongDue) this.#schedulePing()
      else session.admit(length)
    })
    this.#ws.once('close', (code) => {
      session.isLost = code === brokenCode
      session.end()
    })
  }

  get open (): boolean {
    return this.#ws.readyState === WebSocket.OPEN
  }

  get queuedBytes (): number {
    return this.#socket.writableLength
  }

  bytesOf (frame: Buffer): number {
    return frame.length
  }

  write (frame: Buffer): boolean {
    if (this.#socket.writableLength + frame.length > this.#limits.maxQueueBytes) return false
    if (!this.#corked) {
      this.#corked = true
      this.#socket.cork()
      if (WebSocketLink.#written.push(this) === 1) process.nextTick(WebSocketLink.#flush)
    }
    this.#socket.write(frame)
    return true
  }

  close (code: number, reason: CloseReason): void {
    this.#cancelTimer()
    this.#ws.close(code, reason)
    if (reason !== 'FLOODING') return
    // Stop reading. The client's close frame will not be read, so terminate the connection after a timeout.
    this.#ws.pause()
    this.#cancelTimer = afterReading(floodCloseMs, () => this.terminate())
  }

  terminate (): void {
    this.#ws.terminate()
  }

  #schedulePing (): void {
    this.#cancelTimer()
    this.#isPongDue = false
    this.#cancelTimer = afterReading(this.#limits.pingMs, () => {
      if (!this.open) return
      this.#isPongDue = true
      this.#ws.ping()
      this.#cancelTimer = afterReading(this.#limits.pongTimeoutMs, () => this.terminate())
    })
  }
}

/**
 * If a client's frame is too large, the ws package closes the connection with a code but without a reason. This
 * function adds the reason.
 */
function sendTooBigReason (ws: WebSocket): void {
  const close = ws.close.bind(ws)
  const tooBig: CloseReason = 'MESSAGE_TOO_BIG'
  ws.close = (code, reason = code === closeCodes[tooBig] ? tooBig : undefined) => close(code, reason)
}

// The ws package exports Sender, and WebSocket#send uses Sender.frame, but the type package does not declare Sender.
const { Sender } = ws as unknown as {
  Sender: { frame (data: Buffer, options: { fin: boolean, opcode: number, mask: boolean, rsv1: boolean, readOnly: boolean }): Buffer[] }
}

const textOpcode = 1
const binaryOpcode = 2

/**
 * Encodes a message as a WebSocket frame, which can be written to any number of sockets.
 *
 * @param message a string for a text frame, bytes for a binary frame
 * @returns the whole frame, unmasked
 */
export function webSocketFrame (message: string | Uint8Array): Buffer {
  const opcode = typeof message === 'string' ? textOpcode : binaryOpcode
  return Buffer.concat(Sender.frame(Buffer.from(message as string), { fin: true, opcode, mask: false, rsv1: false, readOnly: true }))
}
