import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { WebSocket } from 'ws'
import { quantile } from './load/statistics.ts'
import { connect, startRedis, startServer, stopAll, tokenOf } from './support.ts'
import type { Client } from './support.ts'

// Measures how fast the server responds to a well-behaved user while an attacker with one token floods the server. The
// default limits apply. The attacker runs in a separate thread. The benchmark also reads the server's memory use
// before, during and one minute after each attack.

const attackMs = 10_000
const restMs = 60_000
/** Interval between two requests of the well-behaved user, in milliseconds. */
const paceMs = 25

/**
 * The server's default limits. `startServer` disables these limits, unless they are passed as environment variables.
 */
const limits = {
  WS_MESSAGES_PER_SECOND: '100',
  WS_MESSAGES_BURST: '200',
  WS_BYTES_PER_SECOND: '262144',
  WS_BYTES_BURST: '1048576',
  MAX_CONNECTIONS_PER_USER: '10',
  MAX_CONNECTIONS_PER_IP: '200',
  JOINS_PER_MINUTE: '60',
  ROOMS_CREATED_PER_MINUTE: '20',
  SEAT_COMMANDS_PER_MINUTE: '30',
  SEAT_ADMIN_COMMANDS_PER_MINUTE: '240',
  PRESENCE_COALESCE_OVER: '200'
}

interface Target {
  attack: string
  /** ws://127.0.0.1:port/ws */
  url: string
}

const keys = (count: number) => `{${Array.from({ length: count }, (_, i) => `"k${i}":${i}`).join()}}`
const nested = (bytes: number) => '{"a":'.repeat(bytes / 6) + '1' + '}'.repeat(bytes / 6)

/** Connects repeatedly. Calls `burst` on each connection until the server closes it. */
async function flood (url: string, burst: (ws: WebSocket, n: number) => void): Promise<void> {
  for (;;) {
    const ws = new WebSocket(url, ['msab.v1'], { headers: { authorization: `Bearer ${tokenOf('attacker')}` } })
    ws.on('error', () => { /* `close` is emitted next. */ })
    const isOpen = await Promise.race([once(ws, 'open').then(() => true), once(ws, 'close').then(() => false)]).catch(() => false)
    if (!isOpen) {
      await delay(5)
      continue
    }
    for (let n = 0; ws.readyState === ws.OPEN; n++) {
      burst(ws, n)
      await new Promise((resolve) => setImmediate(resolve))
      while (ws.bufferedAmount > 1_000_000 && ws.readyState === ws.OPEN) await delay(1)
    }
  }
}

/** Sends POST requests in eight parallel loops. Each loop waits for a response before it sends the next request. */
async function post (url: string, path: string, body: string): Promise<void> {
  const address = url.replace('ws', 'http').replace('/ws', path)
  const one = async () => {
    for (;;) await fetch(address, { method: 'POST', body, headers: { 'content-type': 'application/json' } }).then(async (response) => await response.arrayBuffer()).catch(async () => await delay(5))
  }
  await Promise.all(Array.from({ length: 8 }, one))
}

/**
 * Keeps `count` raw connections open. Each connection sends `head`. When the server closes a connection, a new
 * connection replaces it.
 */
async function openRaw (url: string, head: string, count: number): Promise<void> {
  const { hostname, port } = new URL(url)
  const open = async (): Promise<void> => {
    for (;;) {
      const socket = connectTo(Number(port), hostname)
      socket.on('error', () => { /* `close` is emitted next. */ })
      socket.write(head)
      socket.resume()
      await once(socket, 'close').catch(() => {})
      await delay(5)
    }
  }
  await Promise.all(Array.from({ length: count }, open))
}

const attacks: Record<string, (url: string) => Promise<void>> = {
  'POST of nested JSON to an unknown path': async (url) => { await post(url, '/nothing', nested(1_000_000)) },
  'POST of nested JSON to a known path': async (url) => { await post(url, '/admin/rooms/r1/close', nested(60_000)) },
  'frames of 59 KiB with thousands of keys': async (url) => { await flood(url, (ws, n) => ws.send(`{"id":${n},"type":"audio:produce","data":{"transportId":"x","kind":"audio","rtpParameters":{"codecs":[{"parameters":${keys(4500)}}]}}}`)) },
  'small frames': async (url) => { await flood(url, (ws, n) => ws.send(`{"id":${n},"type":"chat:message","data":{"content":"x"}}`)) },
  'frames that wait for a join': async (url) => {
    await flood(url, (ws, n) => {
      ws.send(`{"id":${n},"type":"room:join","data":{"roomId":"r${n % 5}"}}`)
      for (let i = 0; i < 50; i++) ws.send(`{"id":"${n}.${i}","type":"room:participants","data":{}}`)
    })
  },
  'pings and pongs': async (url) => {
    await flood(url, (ws) => {
      ws.ping('x'.repeat(120))
      ws.pong('x'.repeat(120))
    })
  },
  '300 slow bodies': async (url) => { await openRaw(url, 'POST /admin/rooms/r1/close HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{"reason":"', 300) },
  'upgrade requests to /livez': async (url) => { await openRaw(url, 'GET /livez HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n', 8) },
  'requests that create rooms and take seats': async (url) => {
    await flood(url, (ws, n) => {
      ws.send(`{"id":${n},"type":"room:join","data":{"roomId":"flap${n}"}}`)
      ws.send(`{"id":"s${n}","type":"seat:take","data":{"seatIndex":0}}`)
    })
  }
}

/**
 * Sends requests at a steady pace.
 *
 * @returns the response times, in milliseconds
 */
async function measure (client: Client, ms: number): Promise<number[]> {
  const times: Promise<number>[] = []
  const end = performance.now() + ms
  while (performance.now() < end) {
    times.push(client.request('transport:restartIce', { transportId: 'none' }).then((answer) => answer.ms))
    await delay(paceMs)
  }
  return await Promise.all(times)
}

/**
 * Sends typical requests before the first attack so that one-time allocations are not attributed to the attack.
 */
async function warmUp (url: string, quiet: Client): Promise<void> {
  const health = url.replace('ws', 'http').replace('/ws', '/health')
  for (let i = 0; i < 300; i++) await (await fetch(health)).arrayBuffer()
  await measure(quiet, 3000)
}

const rssOf = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

export default async function measureAttacks (): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-bench-'))
  const processes: ChildProcess[] = []
  try {
    const redisUrl = `redis://127.0.0.1:${await startRedis(folder, processes)}/3`
    const url = await startServer(processes, { redisUrl, folder, env: limits })
    const pid = processes.at(-1)?.pid as number
    const quiet = await connect(url, 'quiet')
    await quiet.request('room:join', { roomId: 'quiet' })
    await warmUp(url, quiet)
    console.log('attack | p50 ms before, during | p99 ms before, during | RSS MiB before, highest, a minute later')
    for (const attack of Object.keys(attacks)) {
      const before = await measure(quiet, attackMs)
      const rss = rssOf(pid)
      const attacker = new Worker(new URL(import.meta.url), { workerData: { attack, url } satisfies Target })
      let highest = rss
      const watch = setInterval(() => { highest = Math.max(highest, rssOf(pid)) }, 200)
      const during = await measure(quiet, attackMs)
      clearInterval(watch)
      await attacker.terminate()
      await delay(restMs)
      const figure = (values: readonly number[], q: number) => quantile(values, q).toFixed(1)
      console.log([attack, `${figure(before, 0.5)}, ${figure(during, 0.5)}`, `${figure(before, 0.99)}, ${figure(during, 0.99)}`, [rss, highest, rssOf(pid)].map(Math.round).join(', ')].join(' | '))
    }
  } finally {
    await stopAll(processes)
    rmSync(folder, { recursive: true })
  }
}

if (!isMainThread && parentPort) {
  const { attack, url } = workerData as Target
  await attacks[attack]?.(url)
}
