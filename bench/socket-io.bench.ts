import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { createSigner } from 'fast-jwt'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config/load.ts'
import { quantile } from './load/statistics.ts'

// Measures how much CPU time the main thread needs to send an event to one Socket.IO client. Compares a room of this
// server, which has Socket.IO clients and native clients, with the plain Socket.IO library. The measurements alternate.
// The clients run in another thread.

const members = 200
const natives = 200
const events = 100
const burst = 5
const rounds = 15
const secret = 'a-secret-for-benchmarks-that-is-long-enough'
const data = { roomId: 'r1', id: 'b1946ac9-2f6c', userId: 42, userName: 'Ada', content: 'x'.repeat(120), messageType: 'text', timestamp: 1_790_000_000_000 }

interface Crowd { url: string, kind: 'socket.io' | 'library' | 'native', count: number, room: string }

export default async function socketIo (): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-bench-'))
  const config = loadConfig({ NODE_ENV: 'test', JWT_SECRET: secret, DATA_DIR: folder, FEATURES: 'auth,chat,socket-io', PRESENCE_COALESCE_OVER: '0' })
  const app = await buildApp({ config, warmWorkers: false })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const http = createServer().listen(0, '127.0.0.1')
  await once(http, 'listening')
  const library = new Server(http, { transports: ['websocket'], perMessageDeflate: false })
  library.on('connection', (socket) => { socket.join('r1') })

  const crowds: Crowd[] = [
    { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, kind: 'library', count: members, room: '' },
    { url, kind: 'socket.io', count: members, room: 'mixed' },
    { url, kind: 'native', count: natives, room: 'mixed' },
    { url, kind: 'native', count: natives, room: 'native' }
  ]
  const clients = new Worker(new URL(import.meta.url), { workerData: { crowds } })
  await once(clients, 'message')

  const ways = {
    library: () => { library.to('r1').emit('chat:message', data) },
    mixed: () => { app.rooms.emit('mixed', 'chat:message', data, { local: true }) },
    native: () => { app.rooms.emit('native', 'chat:message', data, { local: true }) }
  }
  const costs = { library: [] as number[], mixed: [] as number[], native: [] as number[] }
  for (let round = -3; round < rounds; round++) {
    for (const [name, send] of Object.entries(ways) as [keyof typeof ways, () => void][]) {
      const begin = process.threadCpuUsage()
      for (let i = 0; i < events; i += burst) {
        for (let n = 0; n < burst; n++) send()
        await new Promise((resolve) => setImmediate(resolve))
      }
      // Wait, so that the measurement includes delayed writes.
      await delay(200)
      const { user, system } = process.threadCpuUsage(begin)
      if (round >= 0) costs[name].push((user + system) / events)
    }
  }
  const [alone, mixed, native] = [quantile(costs.library, 0.5), quantile(costs.mixed, 0.5), quantile(costs.native, 0.5)]
  const line = (name: string, microseconds: number, base: number) => console.log(`  ${name.padEnd(52)} ${microseconds.toFixed(2)} µs CPU per delivery   ×${(microseconds / base).toFixed(2)}`)
  line('the library alone', alone / members, alone / members)
  line('Socket.IO clients in a room with native clients', (mixed - native) / members, alone / members)
  line('native clients', native / natives, alone / members)

  await clients.terminate()
  library.close()
  await app.close()
  rmSync(folder, { recursive: true, force: true })
}

async function connectAll ({ url, kind, count, room }: Crowd): Promise<void> {
  const sign = createSigner({ key: secret, algorithm: 'HS256', expiresIn: '1h' })
  for (let i = 0; i < count; i++) {
    const id = `${room}-${kind}-${i}`
    const token = sign({ id, name: id })
    if (kind === 'native') {
      const ws = new WebSocket(`${url.replace('http', 'ws')}/ws`, ['msab.v1'], { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: false })
      await once(ws, 'open')
      ws.send(JSON.stringify({ id: 1, type: 'room:join', data: { roomId: room } }))
      await new Promise<void>((resolve) => ws.on('message', (raw) => { if (String(raw).includes('"id":1,"ok":true')) resolve() }))
    } else {
      const socket = io(url, { auth: { token }, transports: ['websocket'], forceNew: true })
      await new Promise<void>((resolve) => socket.on('connect', resolve))
      if (kind === 'socket.io') await socket.emitWithAck('room:join', { roomId: room })
    }
  }
}

if (!isMainThread) {
  for (const crowd of (workerData as { crowds: Crowd[] }).crowds) await connectAll(crowd)
  parentPort?.postMessage('connected')
}
