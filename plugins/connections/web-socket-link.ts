import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { closeCodes } from './close-codes.ts'
import type { CloseReason } from './close-codes.ts'
import type { Link } from './link.ts'

export interface WebSocketLimits {
  maxQueueBytes: number
  pingMs: number
  pongTimeoutMs: number
}

/** A WebSocket: coalesced writes, a bounded queue, pings. */
export class WebSocketLink implements Link<Buffer> {
  // Written to in this turn of the event loop; the writes of each leave
  // together at its end.
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
  #timer: NodeJS.Timeout | undefined
  #corked = false

  constructor (ws: WebSocket, socket: Socket, limits: WebSocketLimits) {
    this.#ws = ws
    this.#socket = socket
    this.#limits = limits
    ws.on('pong', () => this.#schedulePing())
    ws.once('close', () => clearTimeout(this.#timer))
    nameTooBig(ws)
    this.#schedulePing()
  }

  get open (): boolean {
    return this.#ws.readyState === WebSocket.OPEN
  }

  get queuedBytes (): number {
    return this.#socket.writableLength
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
    clearTimeout(this.#timer)
    this.#ws.close(code, reason)
  }

  terminate (): void {
    this.#ws.terminate()
  }

  #schedulePing (): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (!this.open) return
      this.#ws.ping()
      this.#timer = setTimeout(() => this.terminate(), this.#limits.pongTimeoutMs)
    }, this.#limits.pingMs)
  }
}

/** ws closes a connection whose frame is too big with the code alone; this adds the reason. */
function nameTooBig (ws: WebSocket): void {
  const close = ws.close.bind(ws)
  const tooBig: CloseReason = 'MESSAGE_TOO_BIG'
  ws.close = (code, reason = code === closeCodes[tooBig] ? tooBig : undefined) => close(code, reason)
}
