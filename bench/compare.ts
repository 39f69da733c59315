// Compares the speed of the server in this checkout with the server in another checkout:
//
//   npm run bench:compare -- ../other-checkout
//
// Runs one server per checkout. Both servers use the same Redis, but different databases. The benchmark alternates
// between the servers, so that other load on the machine affects both equally. Prints the ratios of the median times. A
// ratio below 1 means that this checkout is faster.
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { RequestType } from '../client/protocol.ts'
import { quantile } from './load/statistics.ts'
import { connect, startRedis, startServer, stopAll } from './support.ts'
import type { Client } from './support.ts'

const listeners = 200
const rounds = 300

const [against] = process.argv.slice(2)
if (against === undefined) throw new Error('Usage: npm run bench:compare -- OTHER-CHECKOUT')

interface Scene {
  url: string
  /** Members of one room. */
  crowd: Client[]
  /** The only member of a second room. */
  one: Client
}

/** The operations to measure. Each function returns its duration in milliseconds. */
const measures: Record<string, (scene: Scene, round: number) => Promise<number>> = {
  'connect and join a room of 200': async ({ url }, round) => {
    const begin = performance.now()
    const client = await connect(url, `joiner-${round}`)
    await ok(client, 'room:join', { roomId: 'crowd' })
    const ms = performance.now() - begin
    client.close()
    return ms
  },
  'seat:take': async ({ one }, round) => await ok(one, 'seat:take', { seatIndex: round & 7 }),
  'seat:leave and take': async ({ one }) => await ok(one, 'seat:leave', {}) + await ok(one, 'seat:take', { seatIndex: 0 }),
  'gift:send': async ({ crowd }, round) => await ok(crowd[(round + 20) % listeners] as Client, 'gift:send', { giftId: 1, recipientId: '0' }),
  'chat:message to 200 members': async ({ crowd }, round) => {
    const before = crowd.map((client) => client.seen())
    const begin = performance.now()
    await ok(crowd[(round + 20) % listeners] as Client, 'chat:message', { content: 'x'.repeat(120) })
    while (crowd.some((client, i) => client.seen() === before[i])) await new Promise((resolve) => setImmediate(resolve))
    return performance.now() - begin
  }
}

async function ok (client: Client, type: RequestType, data: object): Promise<number> {
  const { code, ms } = await client.request(type, data)
  if (code !== 'ok') throw new Error(`${type} failed: ${code}`)
  return ms
}

const folder = mkdtempSync(join(tmpdir(), 'flylive-compare-'))
const processes: ChildProcess[] = []
try {
  const port = await startRedis(folder, processes)
  const [here, there] = [await scene('here', undefined, 1), await scene('there', resolve(against), 2)]
  for (const [name, measure] of Object.entries(measures)) {
    const times: [number[], number[]] = [[], []]
    for (let i = -20; i < rounds; i++) {
      // Alternate the order, because the server that is measured second benefits from warmer caches.
      for (const which of i % 2 === 0 ? [0, 1] as const : [1, 0] as const) {
        const ms = await measure(which === 0 ? here : there, i)
        if (i >= 0) times[which].push(ms)
      }
    }
    const [p50, other] = [quantile(times[0], 0.5), quantile(times[1], 0.5)]
    console.log(`${name.padEnd(34)} here p50 ${p50.toFixed(2)} ms, p99 ${quantile(times[0], 0.99).toFixed(2)} ms; there p50 ${other.toFixed(2)} ms, p99 ${quantile(times[1], 0.99).toFixed(2)} ms; ratio of p50 ${(p50 / other).toFixed(2)}`)
  }

  async function scene (name: string, root: string | undefined, db: number): Promise<Scene> {
    const url = await startServer(processes, { redisUrl: `redis://127.0.0.1:${port}/${db}`, folder: mkdtempSync(join(folder, name)), ...(root === undefined ? {} : { root }) })
    const crowd: Client[] = []
    for (let i = 0; i < listeners; i++) {
      const client = await connect(url, `${i}`)
      await client.request('room:join', { roomId: 'crowd' })
      crowd.push(client)
    }
    const one = await connect(url, 'one')
    await one.request('room:join', { roomId: 'alone' })
    return { url, crowd, one }
  }
} finally {
  await stopAll(processes)
  rmSync(folder, { recursive: true, force: true })
}
