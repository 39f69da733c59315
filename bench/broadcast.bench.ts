import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Worker, isMainThread, workerData } from 'node:worker_threads'
import { WebSocket, WebSocketServer } from 'ws'
import { createEvent, createFaceAdapter, jsonFace } from '../plugins/connections/face.ts'
import { Session } from '../plugins/connections/session.ts'
import { webSocketFrame, WebSocketLink } from '../plugins/connections/web-socket-link.ts'

// Compares three ways to send an event to a room's members: serialise the event and create the WebSocket frame for each
// member; serialise once, but create a frame for each member; or do both only once, as the server does.

const members = 500
const events = 200
const burst = 5
const rounds = 5
const data = { roomId: 'r1', id: 'b1946ac9-2f6c', userId: 42, userName: 'Ada', content: 'x'.repeat(120), timestamp: 1_790_000_000_000 }

const face = createFaceAdapter(webSocketFrame, (error) => { throw error })(jsonFace)
const identity = { user: { id: 1, name: '', roles: [], profile: { userId: 1, id: 1 } } }
const limits = { messagesPerSecond: 1, messagesBurst: 1, bytesPerSecond: 1, bytesBurst: 1 }
const unlimited = { maxQueueBytes: Infinity, pingMs: 1e6, pongTimeoutMs: 1e6 }

export default async function broadcast (): Promise<void> {
  const http = createServer().listen(0, '127.0.0.1')
  await once(http, 'listening')
  const server = new WebSocketServer({ server: http, perMessageDeflate: false })
  const sockets: WebSocket[] = []
  const sessions: Session[] = []
  const full = new Promise<void>((resolve) => server.on('connection', (ws, request) => {
    sockets.push(ws)
    sessions.push(new Session({ identity, face, link: new WebSocketLink(ws, request.socket, unlimited), connectedAt: 0, connected: true, limits, reader: () => {} }))
    if (sockets.length === members) resolve()
  }))
  const readers = new Worker(new URL(import.meta.url), { workerData: { port: (http.address() as AddressInfo).port } })
  await full

  const ways: Record<string, () => void> = {
    'JSON and frame per member': () => { for (const ws of sockets) ws.send(JSON.stringify({ type: 'chat:message', data })) },
    'JSON once, frame per member': () => {
      const text = JSON.stringify({ type: 'chat:message', data })
      for (const ws of sockets) ws.send(text)
    },
    'JSON and frame once (server)': () => {
      const event = createEvent('chat:message', data)
      for (const session of sessions) session.write(event)
    }
  }
  const best = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    for (const [name, send] of Object.entries(ways)) {
      const begin = process.cpuUsage()
      for (let i = 0; i < events; i += burst) {
        for (let n = 0; n < burst; n++) send()
        await new Promise((resolve) => setImmediate(resolve))
      }
      const { user, system } = process.cpuUsage(begin)
      best.set(name, Math.min(best.get(name) ?? Infinity, (user + system) / events))
    }
  }
  const least = Math.min(...best.values())
  for (const [name, microseconds] of best) {
    console.log(`  ${name.padEnd(32)} ${(microseconds / members).toFixed(2)} µs CPU per delivery   ×${(microseconds / least).toFixed(2)}`)
  }
  await readers.terminate()
  for (const ws of sockets) ws.terminate()
  server.close()
  http.close()
}

// The clients read in a separate thread. Every result includes the CPU time of the clients, which is the same for all
// three ways.
if (!isMainThread) {
  const { port } = workerData as { port: number }
  for (let i = 0; i < members; i++) new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false }).on('message', () => {})
}
