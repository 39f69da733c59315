import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import * as members from '../plugins/store/redis/scripts/members.ts'
import * as records from '../plugins/store/redis/scripts/records.ts'
import * as state from '../plugins/store/redis/scripts/state.ts'
import { quantile } from './load/statistics.ts'
import { connect, startRedis, startServer, stopAll } from './support.ts'
import type { Answer, Client } from './support.ts'

// Measures how long it takes to take a seat: for a single user, and for 200 users who request the same seat at the same
// time. Two server processes share one Redis. The benchmark's own process runs the clients and counts the Redis
// commands by name.

const alone = 1500
const contenders = 200
const rounds = 40
const counted = 100

export default async function seats (): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-bench-'))
  const processes: ChildProcess[] = []
  const port = await startRedis(folder, processes)
  const redisUrl = `redis://127.0.0.1:${port}/3`
  const urls = await Promise.all([startServer(processes, { redisUrl, folder }), startServer(processes, { redisUrl, folder })])
  const redis = new Redis(redisUrl)
  try {
    const [one, other] = [await connect(urls[0] as string, 'one'), await connect(urls[1] as string, 'other')]
    for (const client of [one, other]) await client.request('room:join', { roomId: 'alone' })

    // Alternate between the measurements so that other load on the machine affects all of them equally.
    const pings: number[] = []
    const refusals: number[] = []
    const takes: number[] = []
    const leaves: number[] = []
    for (let i = -100; i < alone; i++) {
      const begin = performance.now()
      await redis.ping()
      const ping = performance.now() - begin
      const refusal = await one.request('seat:take', {})
      const take = await expect('ok', one.request('seat:take', { seatIndex: i & 7 }))
      const leave = await expect('ok', one.request('seat:leave', {}))
      if (i < 0) continue
      pings.push(ping)
      refusals.push(refusal.ms)
      takes.push(take.ms)
      leaves.push(leave.ms)
    }

    const crowd: Client[] = []
    for (let i = 0; i < contenders; i++) {
      crowd.push(await connect(urls[i % 2] as string, `c${i}`))
      await crowd[i]?.request('room:join', { roomId: 'crowd' })
    }
    const [all, won, refused]: [number[], number[], number[]] = [[], [], []]
    async function contend (): Promise<Answer[]> {
      const answers = await Promise.all(crowd.map((client) => client.request('seat:take', { seatIndex: 3 })))
      const winners = answers.filter(({ code }) => code === 'ok')
      if (winners.length !== 1) throw new Error(`${winners.length} users have the seat`)
      const before = crowd.map((client) => client.seen())
      await crowd[answers.findIndex(({ code }) => code === 'ok')]?.request('seat:leave', {})
      // Start the next round only after every client has received the event that the seat is free.
      while (crowd.some((client, i) => client.seen() === before[i])) await new Promise((resolve) => setImmediate(resolve))
      return answers
    }
    for (let round = -5; round < rounds; round++) {
      const nothing = await Promise.all(crowd.map((client) => client.request('seat:take', {})))
      const answers = await contend()
      if (round < 0) continue
      refused.push(...nothing.map(({ ms }) => ms))
      all.push(...answers.map(({ ms }) => ms))
      won.push(...answers.filter(({ code }) => code === 'ok').map(({ ms }) => ms))
    }

    const unit = quantile(pings, 0.5)
    const print = (name: string, times: readonly number[], of = unit) => {
      const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)]
      console.log(`  ${name.padEnd(46)} p50 ${p50.toFixed(2).padStart(6)} ms   p99 ${p99.toFixed(2).padStart(6)} ms   ×${(p50 / of).toFixed(1).padStart(5)}`)
    }
    console.log('  ×: p50 relative to the p50 of a PING to Redis')
    print('PING to Redis', pings)
    print('seat:take rejected by its schema, no store call', refusals)
    print('seat:take', takes)
    print('seat:leave', leaves)
    const inAll = quantile(refusals, 0.5) + unit
    console.log(`  a take lasts ${(quantile(takes, 0.5) / inAll).toFixed(2)} times as long as a rejected take plus a PING`)
    print(`${contenders} concurrent takes rejected by schema`, refused)
    print(`${contenders} concurrent takes of a seat: all replies`, all)
    print(`${contenders} concurrent takes of a seat: the winner`, won)
    console.log(`  ${contenders} concurrent takes of a seat last ${(quantile(all, 0.5) / quantile(refused, 0.5)).toFixed(2)} times as long as ${contenders} takes rejected by schema`)

    // Count the commands in a separate step, without measuring times, because MONITOR slows Redis down.
    console.log('  Redis commands; each is a round trip unless it shares a pipeline:')
    const count = async (name: string, times: number, work: () => Promise<unknown>) => {
      console.log(`  ${name.padEnd(46)} ${describe(await commandsDuring(redis, port, work), times)}`)
    }
    await count('a take', counted, async () => {
      for (let i = 0; i < counted; i++) await one.request('seat:take', { seatIndex: i & 7 })
    })
    await count('a take and a leave', counted, async () => {
      for (let i = 0; i < counted; i++) {
        await one.request('seat:take', { seatIndex: i & 7 })
        await one.request('seat:leave', {})
      }
    })
    await count('an assign', counted, async () => {
      for (let i = 0; i < counted; i++) await one.request('seat:assign', { userId: 'one', seatIndex: i & 7 })
    })
    await count(`${contenders} takes of one seat and a leave`, 10, async () => {
      for (let i = 0; i < 10; i++) await contend()
    })
  } finally {
    redis.disconnect()
    await stopAll(processes)
    rmSync(folder, { recursive: true, force: true })
  }
}

async function expect (code: string, promise: Promise<Answer>): Promise<Answer> {
  const answer = await promise
  if (answer.code !== code) throw new Error(`Expected ${code}, received ${answer.code}`)
  return answer
}

/** True if a Redis command belongs to the servers' background work, such as heartbeats or looking for due jobs. */
function isByItself ([command = '', ...args]: string[]): boolean {
  const script = command.startsWith('eval')
  const key = args[script ? 2 : 0] ?? ''
  return (script && /^msab:(jobs:|\{gifts\})/.test(key)) || /^(auth:revoked:|msab:(node:|nodes$|rooms:empty$|\d+:canary:))/.test(key)
}

/** Counts the Redis commands that `work` causes, by command or script name, without the servers' background work. */
async function commandsDuring (redis: Redis, port: number, work: () => Promise<unknown>): Promise<Map<string, number>> {
  const names = new Map(Object.entries({ ...members, ...records, ...state }).map(([name, lua]) => [createHash('sha1').update(lua).digest('hex'), name]))
  const counts = new Map<string, number>()
  const [listening, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let begun = false
  // Uses a raw socket, because ioredis fails if the first MONITOR line arrives together with the reply to MONITOR.
  const monitor = createConnection(port, '127.0.0.1')
  createInterface({ input: monitor }).on('line', (line) => {
    if (line === '+OK') return listening.resolve()
    const source = /^\+[\d.]+ \[\d+ ([^\]]+)\]/.exec(line)?.[1]
    const args = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text ?? '')
    const [command = '', first = ''] = args
    if (command === 'echo' && first === 'begin') begun = true
    else if (command === 'echo' && first === 'end') over.resolve()
    // Do not count the commands inside a script: the script itself is already counted.
    else if (begun && source !== 'lua' && !isByItself(args)) {
      const name = names.has(first) ? `${command} ${names.get(first)}` : command
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
  })
  monitor.write('MONITOR\r\n')
  await listening.promise
  await redis.echo('begin')
  await work()
  await redis.echo('end')
  await over.promise
  monitor.destroy()
  return counts
}

const describe = (counts: ReadonlyMap<string, number>, times: number) =>
  [...counts].map(([name, count]) => `${(count / times).toFixed(2)} ${name}`).join(', ')
