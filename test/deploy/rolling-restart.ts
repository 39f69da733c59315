import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import { tokenFor } from '../support/build.ts'
import { startNginx } from '../support/nginx.ts'
import { startServer } from '../support/process.ts'
import type { ServerProcess } from '../support/process.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { until } from '../support/retry.ts'

/** The interval of the messages with which the test detects gaps, in milliseconds. */
const tickMs = 100
const seatsPerRoom = 15

/** How the restart affected one client. */
interface Witness {
  room: RoomClient
  seatIndex: number
  /** Changes of the room's state since the start. */
  states: string[]
  /** Whether the client's seat was ever reported free. */
  lostSeat: boolean
  /** The longest time between two messages of the room, in milliseconds. */
  longestGapMs: number
  ticks: number
}

export interface RestartResult {
  clients: number
  /** Clients whose room state changed. */
  noticed: number
  /** The longest time without a message, beyond the interval of the messages, in milliseconds. */
  worstGapMs: number
  seatsKept: number
  /** How long each server took to stop, in seconds. */
  stopSeconds: number[]
}

/** @param number of the client; 15 clients share a room */
async function enter (t: Test, url: string, number: number): Promise<Witness> {
  const room = new RoomClient({ url, token: () => tokenFor(number), audio: false })
  t.teardown(() => room.close())
  await room.join(`room-${Math.floor(number / seatsPerRoom)}`)
  const seatIndex = await room.seats.takeFree() ?? -1
  const witness: Witness = { room, seatIndex, states: [], lostSeat: false, longestGapMs: 0, ticks: 0 }
  room.on('state', (state, why) => witness.states.push(`${state} ${why?.code ?? ''}`))
  room.connection.on('seat:cleared', ({ userId }) => { if (userId === number) witness.lostSeat = true })
  let last = performance.now()
  room.connection.on('chat:message', () => {
    const now = performance.now()
    // The time before the first message does not count.
    if (witness.ticks++ > 0) witness.longestGapMs = Math.max(witness.longestGapMs, now - last)
    last = now
  })
  return witness
}

/**
 * Restarts two servers behind nginx, one after the other, while clients of the client package are in rooms and receive messages.
 *
 * @param clients the number of clients
 */
export async function rollingRestart (t: Test, clients: number, drainSeconds: number): Promise<RestartResult> {
  const redis = await startRedis(t)
  const ports = [await freePort(), await freePort()] as const
  const start = async (port: number): Promise<ServerProcess> => {
    const server = startServer(t, {
      PORT: String(port),
      NODE_ID: `server-${port}`,
      REDIS_URL: redis.url,
      FEATURES: 'auth,seats,chat',
      TRUST_PROXY: 'true',
      DRAIN_SECONDS: String(drainSeconds),
      RATE_LIMIT_MESSAGES_PER_MINUTE: '10000',
      MEDIASOUP_WORKERS: '1'
    })
    const url = await server.url
    await until(async () => (await fetch(`${url}/readyz`)).ok)
    return server
  }
  const servers = await Promise.all(ports.map(start))
  const { url } = await startNginx(t, ports)

  const witnesses: Witness[] = []
  for (let number = 0; number < clients; number++) witnesses.push(await enter(t, url, number))
  // One member of each room speaks.
  const speakers = witnesses.filter((_, number) => number % seatsPerRoom === 0)
  const ticker = setInterval(() => {
    for (const { room } of speakers) room.connection.request('chat:message', { content: 'tick' }).catch(() => { /* The other clients detect the gap. */ })
  }, tickMs)
  t.teardown(() => clearInterval(ticker))
  const everybodyHears = async () => {
    const before = witnesses.map(({ ticks }) => ticks)
    await until(() => witnesses.every(({ ticks }, i) => ticks > (before[i] ?? 0) + 5))
  }
  await everybodyHears()

  const stopSeconds: number[] = []
  for (const [i, port] of ports.entries()) {
    const server = servers[i] as ServerProcess
    const startedAt = performance.now()
    server.child.kill('SIGTERM')
    await Promise.race([server.exit, delay(60_000, undefined, { ref: false }).then(() => { throw new Error('The server did not stop') })])
    stopSeconds.push((performance.now() - startedAt) / 1000)
    await everybodyHears()
    servers[i] = await start(port)
    await everybodyHears()
  }
  clearInterval(ticker)

  return {
    clients,
    noticed: witnesses.filter(({ states }) => states.length > 0).length,
    worstGapMs: Math.max(...witnesses.map(({ longestGapMs }) => longestGapMs)) - tickMs,
    seatsKept: witnesses.filter(({ room, seatIndex, lostSeat }) => !lostSeat && room.seats.own?.seatIndex === seatIndex).length,
    stopSeconds
  }
}

/** Prints the result as a table. */
export function printResult (t: Test, { clients, noticed, worstGapMs, seatsKept, stopSeconds }: RestartResult): void {
  t.comment(`| clients | noticed | worst gap | seats kept | servers stopped in |
|---|---|---|---|---|
| ${clients} | ${noticed} | ${Math.round(worstGapMs)} ms | ${seatsKept} | ${stopSeconds.map((seconds) => `${seconds.toFixed(1)} s`).join(', ')} |`)
}
