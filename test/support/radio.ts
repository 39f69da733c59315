import { once } from 'node:events'
import { decode, encode } from '@msgpack/msgpack'
import { createSigner } from 'fast-jwt'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { jwtSecret } from './build.ts'
import { Refused } from './client.ts'

export type RadioFrame = unknown[]

export interface RadioOptions {
  /** Token claims besides `userId`. */
  claims?: Record<string, unknown>
  /** Default: a token from {@link radioToken}. */
  token?: string
  deviceId?: string
  /** How to send the token and the device id. Default: headers. */
  via?: 'headers' | 'subprotocols'
  path?: string
}

/** A VoicePing radio. */
export interface TestRadio {
  readonly ws: WebSocket
  /** All frames received, in order. */
  readonly frames: RadioFrame[]
  readonly closed: Promise<{ code: number, reason: string }>
  send (...frame: unknown[]): void
  sendRaw (data: Uint8Array | string): void
  /** Returns the next frame of a message type, or waits for one. Each frame is returned only once. */
  next (messageType: number, fits?: (frame: RadioFrame) => boolean): Promise<RadioFrame>
  /** Waits until the server has handled all frames sent so far. */
  flush (): Promise<void>
  close (): Promise<void>
}

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256', expiresIn: '1h' })
const timeoutMs = 15_000

/** @returns a token for a radio's user */
export function radioToken (userId: string | number, claims: Record<string, unknown> = {}): string {
  return sign({ userId, ...claims })
}

/**
 * Connects a radio.
 *
 * @param url http://…
 * @throws {Refused} if the server responds with an HTTP status
 */
export async function connectRadio (t: Test, url: string, userId: string | number, { claims = {}, token = radioToken(userId, claims), deviceId, via = 'headers', path = '/ptt' }: RadioOptions = {}): Promise<TestRadio> {
  const device = deviceId === undefined ? [] : [deviceId]
  const ws = via === 'headers'
    ? new WebSocket(url.replace('http', 'ws') + path, { headers: { ...(token === '' ? {} : { token }), ...(deviceId === undefined ? {} : { device_id: deviceId }) } })
    : new WebSocket(url.replace('http', 'ws') + path, [token, ...device])
  t.teardown(() => ws.terminate())
  const radio = createRadio(ws)
  await new Promise<void>((resolve, reject) => {
    ws.once('error', reject)
    ws.once('unexpected-response', (_request, response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk) => { body += chunk })
      response.once('end', () => reject(new Refused(response.statusCode ?? 0, body, response.headers)))
    })
    ws.once('open', resolve)
  })
  // The server handles frames only after the radio joins its channels.
  await radio.flush()
  return radio
}

function createRadio (ws: WebSocket): TestRadio {
  const frames: RadioFrame[] = []
  const taken = new Set<RadioFrame>()
  const watchers = new Set<() => void>()
  let tests = 0
  const closed = new Promise<{ code: number, reason: string }>((resolve) => {
    ws.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
  ws.on('error', () => { /* `close` is emitted next. */ })
  ws.on('message', (data) => {
    frames.push(decode(data as Buffer) as RadioFrame)
    for (const watcher of watchers) watcher()
  })
  const radio: TestRadio = {
    ws,
    frames,
    closed,
    send (...frame) {
      ws.send(encode(frame))
    },
    sendRaw (data) {
      ws.send(data)
    },
    next (messageType, fits = () => true) {
      const { promise, resolve, reject } = Promise.withResolvers<RadioFrame>()
      const timer = setTimeout(() => reject(new Error(`Waited for a frame of type ${messageType}; received: ${JSON.stringify(frames.slice(-20))}`)), timeoutMs)
      const look = () => {
        const frame = frames.find((frame) => frame[1] === messageType && !taken.has(frame) && fits(frame))
        if (!frame) return
        taken.add(frame)
        watchers.delete(look)
        clearTimeout(timer)
        resolve(frame)
      }
      watchers.add(look)
      look()
      return promise
    },
    async flush () {
      const payload = `test ${++tests}`
      radio.send(1, 25, 0, 0, payload)
      await radio.next(26, (frame) => frame[4] === payload)
    },
    async close () {
      if (ws.readyState === WebSocket.CLOSED) return
      const gone = once(ws, 'close')
      ws.close()
      await gone
    }
  }
  return radio
}
