import type { Socket } from 'socket.io-client'
import type { Test } from 'tap'
import { socketIoFace } from '../../../features/socket-io/face.ts'
import { tokenFor } from '../../support/build.ts'
import { createSocketIo } from '../../support/socket-io-client.ts'
import type { Ack, SocketIoOptions } from '../../support/socket-io-client.ts'
import { until } from '../../support/retry.ts'

/** An event that a client has received. */
export interface Received {
  type: string
  data: Record<string, unknown>
}

export interface SocketIoClient {
  socket: Socket
  /** All events, in order of arrival. */
  events: Received[]
  /** The reasons why the client was disconnected, in order. */
  disconnects: string[]
  ask (type: string, data?: unknown): Promise<Ack>
  /**
   * Waits for the first event of a type.
   *
   * @returns its data
   */
  event (type: string): Promise<Record<string, unknown>>
}

/** Creates a client, which starts to connect immediately and is disconnected after the test. */
export function createClient (t: Test, url: string, userId: string | number, options: SocketIoOptions = {}): SocketIoClient {
  const socket = createSocketIo(url, { token: tokenFor(userId), ...options })
  t.teardown(() => { socket.disconnect() })
  const events: Received[] = []
  const disconnects: string[] = []
  socket.onAny((type: string, data: Record<string, unknown>) => events.push({ type, data }))
  socket.on('disconnect', (reason) => disconnects.push(reason))
  return {
    socket,
    events,
    disconnects,
    ask: async (type, data) => await socket.timeout(15_000).emitWithAck(type, data) as Ack,
    async event (type) {
      return await until(() => events.find((event) => event.type === type)?.data ?? false)
    }
  }
}

/** Connects a client and waits for the greeting. */
export async function enter (t: Test, url: string, userId: string | number, options: SocketIoOptions = {}): Promise<SocketIoClient> {
  const client = createClient(t, url, userId, options)
  await client.event('session:ready')
  return client
}

/**
 * Tries to connect.
 *
 * @returns the error, with the data that the server sent
 */
export async function refusal (t: Test, url: string, options: SocketIoOptions): Promise<{ message: string, data?: { code: string, details?: unknown } }> {
  const socket = createSocketIo(url, options)
  t.teardown(() => { socket.disconnect() })
  const { promise, resolve, reject } = Promise.withResolvers<Error>()
  socket.on('connect_error', resolve)
  socket.on('connect', () => reject(new Error('connected')))
  return await promise
}

/** @returns a function that encodes an event as a packet of the Socket.IO protocol */
export function createFaceEvents (): (event: { type: string, data: unknown, text?: string }) => string | undefined {
  return ({ type, data, text = JSON.stringify({ type, data }) }) => socketIoFace.event({ type, data, text })?.text
}
