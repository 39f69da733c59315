import type { CloseReason, Link } from 'flylive-audio-server/feature'
import type { Socket as EngineSocket } from 'engine.io'
import type { Socket } from 'socket.io'
import type { WebSocket } from 'ws'
import { socketIoFace } from './face.ts'
import type { Packet } from './packets.ts'

/** For these close reasons, the server sends a disconnect packet, which stops automatic reconnects. */
const finalReasons: ReadonlySet<CloseReason> = new Set(['UNAUTHORIZED', 'KICKED', 'REPLACED'])

/**
 * The messages that clients receive in an `error` event before the connection closes, because a Socket.IO client cannot
 * read a close reason.
 */
const explanations: { [R in CloseReason]?: string } = {
  UNAUTHORIZED: 'The token was revoked',
  TOKEN_EXPIRED: 'The token has expired',
  KICKED: 'You were removed from the room',
  REPLACED: 'You connected from another device',
  FLOODING: 'Too many messages'
}

/** How long a closing connection may take to deliver queued packets before it is terminated, in milliseconds. */
const closeTimeoutMs = 5000
/**
 * Like {@link closeTimeoutMs}, but for a client that floods the server. The server reads no more data from such a
 * client.
 */
const floodCloseMs = 500

/** @returns the WebSocket of a connection; undefined if the client uses polling */
export function webSocketOf (connection: EngineSocket): WebSocket | undefined {
  // The cast is needed, because the engine's types declare `socket` as private.
  return (connection.transport as unknown as { socket?: WebSocket }).socket
}

/**
 * Closes a connection immediately. If the connection is already closing, the engine would otherwise wait up to 30 s for
 * a polling request.
 */
export function terminate (connection: EngineSocket): void {
  connection.close(true)
  // The cast is needed, because the engine's types declare `shouldClose` as private.
  if (connection.readyState === 'closing') (connection.transport as unknown as { shouldClose?: () => void }).shouldClose?.()
}

/** Writes packets to a Socket.IO client, over any transport of the engine. */
export class SocketIoLink implements Link<Packet> {
  readonly #socket: Socket
  readonly #connection: EngineSocket
  readonly #maxQueueBytes: number
  /** Number of bytes that the engine has not passed to the transport yet. */
  #waiting = 0
  /** Number of bytes in the last flush. While the transport is not writable, it has not sent these bytes yet. */
  #written = 0

  constructor (socket: Socket, maxQueueBytes: number) {
    this.#socket = socket
    this.#connection = socket.conn
    this.#maxQueueBytes = maxQueueBytes
    this.#connection.on('flush', () => {
      this.#written = this.#waiting
      this.#waiting = 0
    })
  }

  get open (): boolean {
    return this.#connection.readyState === 'open'
  }

  get queuedBytes (): number {
    return this.#connection.transport.writable ? this.#waiting : this.#waiting + this.#written
  }

  bytesOf ({ bytes }: Packet): number {
    return bytes
  }

  write (packet: Packet): boolean {
    if (this.queuedBytes + packet.bytes > this.#maxQueueBytes) return false
    this.#waiting += packet.bytes
    this.#connection.write(packet.text, packet.options)
    return true
  }

  close (code: number, reason: CloseReason): void {
    const message = explanations[reason]
    if (message !== undefined) this.#explain({ code: reason, message })
    const ws = webSocketOf(this.#connection)
    // The engine would close the WebSocket without a close code, so add the code here.
    if (ws) ws.close = ws.close.bind(ws, code, reason)
    // Wait for the WebSocket itself to close, because the engine considers a WebSocket closed as soon as the close
    // frame is sent.
    const timer = setTimeout(() => this.terminate(), reason === 'FLOODING' ? floodCloseMs : closeTimeoutMs)
    const closing = ws ?? this.#connection
    closing.once('close', () => clearTimeout(timer))
    if (finalReasons.has(reason)) this.#socket.disconnect(true)
    else this.#connection.close(reason === 'TOO_SLOW')
    if (reason === 'FLOODING') ws?.pause()
  }

  terminate (): void {
    const ws = webSocketOf(this.#connection)
    if (ws) ws.terminate()
    else terminate(this.#connection)
  }

  #explain (data: { code: CloseReason, message: string }): void {
    const packet = socketIoFace.event({ type: 'error', data, text: JSON.stringify({ type: 'error', data }) })
    if (packet) this.#connection.write(packet.text, packet.options)
  }
}
