import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { RoomOptions } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { startNginx } from '../support/nginx.ts'
import { startServer } from '../support/process.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { until } from '../support/retry.ts'
import { followSound } from '../support/sound.ts'
import type { Sound } from '../support/sound.ts'
import { createTone } from '../support/wrtc.ts'

/** Message interval in milliseconds; the test detects gaps between messages. */
const tickMs = 100
const seatsPerRoom = 15

/** How the restart affected one client. */
interface Witness {
  room: RoomClient
  seatIndex: number
  /** The sound that the client receives; undefined if the client has no audio. */
  sound: Sound | undefined
  /** The states that the client's room and audio have entered since the start. */
  states: string[]
  /** True if an event has reported the client's seat as free. */
  lostSeat: boolean
  /** The longest time between two messages in the room, in milliseconds. */
  longestGapMs: number
  ticks: number
}

export interface RestartResult {
  clients: number
  /** Number of clients whose room state or audio state changed. */
  noticed: number
  /** The state changes of all clients. */
  changes: string[]
  /** The longest time without a message, minus the interval between messages, in milliseconds. */
  worstGapMs: number
  /** The longest time for which a talker did not hear the room's other talker, in milliseconds. */
  worstSilenceMs: number
  seatsKept: number
  /** How long each server took to stop, in seconds. */
  stopSeconds: number[]
}

/**
 * @param number the client's number; 15 clients share a room
 * @param talks whether the client sends a tone and listens
 */
async function enter (t: Test, url: string, number: number, talks: boolean): Promise<Witness> {
  const audio: RoomOptions['audio'] = talks ? { handlerName: 'Chrome111', receive: 'voices' } : false
  const room = new RoomClient({ url, token: () => tokenFor(number), audio })
  t.teardown(() => room.close())
  await room.join(`room-${Math.floor(number / seatsPerRoom)}`)
  const seatIndex = await room.seats.takeFree() ?? -1
  if (talks) {
    await room.audio?.publish(createTone(t))
    await until(() => room.audio?.state === 'on')
  }
  const sound = talks ? followSound(t, room) : undefined
  const witness: Witness = { room, seatIndex, sound, states: [], lostSeat: false, longestGapMs: 0, ticks: 0 }
  room.audio?.on('state', (state, why) => witness.states.push(`audio ${state} ${why?.message ?? ''}`))
  room.on('state', (state, why) => witness.states.push(`${state} ${why?.code ?? ''}`))
  room.connection.on('seat:cleared', ({ userId }) => { if (userId === number) witness.lostSeat = true })
  let last = performance.now()
  room.connection.on('chat:message', () => {
    const now = performance.now()
    // Ignore the time before the first message.
    if (witness.ticks++ > 0) witness.longestGapMs = Math.max(witness.longestGapMs, now - last)
    last = now
  })
  return witness
}

export interface RestartOptions {
  clients: number
  /** Number of clients that send a tone and listen. The number is even, because each room has two such clients. */
  talkers?: number
  servers?: number
  drainSeconds: number
  /** True if the servers run in this process instead of separate processes. */
  inProcess?: boolean
}

/** Starts a server on a port, in this process or in a separate process. */
async function start (t: Test, port: number, env: Record<string, string>, inProcess: boolean): Promise<{ url: string, stop (): Promise<unknown> }> {
  if (inProcess) {
    const { app, url, close } = await build(t, { port, env })
    return {
      url,
      async stop () {
        await app.drain.begin(Number(env.DRAIN_SECONDS))
        await close()
      }
    }
  }
  const { url, child, exit } = startServer(t, { ...env, PORT: String(port), MEDIASOUP_WORKERS: '1' })
  return {
    url: await url,
    async stop () {
      child.kill('SIGTERM')
      await exit
    }
  }
}

/**
 * Restarts servers behind nginx one after the other, while instances of the client package receive messages and audio.
 */
export async function rollingRestart (t: Test, { clients, talkers = 0, servers: size = 2, drainSeconds, inProcess = false }: RestartOptions): Promise<RestartResult> {
  const redis = await startRedis(t)
  const ports: number[] = []
  while (ports.length < size) ports.push(await freePort())
  const startOn = async (port: number) => {
    const server = await start(t, port, {
      NODE_ID: `server-${port}`,
      REDIS_URL: redis.url,
      FEATURES: talkers > 0 ? 'auth,media,seats,chat' : 'auth,seats,chat',
      TRUST_PROXY: 'true',
      DRAIN_SECONDS: String(drainSeconds),
      RATE_LIMIT_MESSAGES_PER_MINUTE: '10000'
    }, inProcess)
    await until(async () => (await fetch(`${server.url}/readyz`)).ok)
    return server
  }
  const servers = await Promise.all(ports.map(startOn))
  const { url } = await startNginx(t, ports)

  const witnesses: Witness[] = []
  const talks = (number: number) => number % seatsPerRoom < 2 && 2 * Math.floor(number / seatsPerRoom) < talkers
  for (let number = 0; number < clients; number++) witnesses.push(await enter(t, url, number, talks(number)))
  // The two talkers of a room hear each other.
  const listening = witnesses.flatMap(({ sound }, number) => sound ? [{ sound, other: number % seatsPerRoom === 0 ? number + 1 : number - 1 }] : [])
  // One member of each room sends a chat message per tick.
  const speakers = witnesses.filter((_, number) => number % seatsPerRoom === 0)
  const ticker = setInterval(() => {
    for (const { room } of speakers) room.connection.request('chat:message', { content: 'tick' }).catch(() => { /* A failed request is ignored, because the other clients detect the missing message. */ })
  }, tickMs)
  t.teardown(() => clearInterval(ticker))
  const everybodyHears = async () => {
    const before = witnesses.map(({ ticks }) => ticks)
    await until(() => witnesses.every(({ ticks }, i) => ticks > (before[i] ?? 0) + 5) && listening.every(({ sound, other }) => sound.hears(other)))
  }
  await everybodyHears()
  for (const { sound } of listening) sound.watch()

  const stopSeconds: number[] = []
  for (const [i, port] of ports.entries()) {
    const startedAt = performance.now()
    await Promise.race([servers[i]?.stop(), delay(60_000, undefined, { ref: false }).then(() => { throw new Error('The server did not stop') })])
    stopSeconds.push((performance.now() - startedAt) / 1000)
    await everybodyHears()
    servers[i] = await startOn(port)
    await everybodyHears()
  }
  clearInterval(ticker)

  return {
    clients,
    noticed: witnesses.filter(({ states }) => states.length > 0).length,
    changes: witnesses.flatMap(({ states }) => states),
    worstGapMs: Math.max(...witnesses.map(({ longestGapMs }) => longestGapMs)) - tickMs,
    worstSilenceMs: Math.max(0, ...listening.map(({ sound, other }) => sound.longestSilence(other))),
    seatsKept: witnesses.filter(({ room, seatIndex, lostSeat }) => !lostSeat && room.seats.own?.seatIndex === seatIndex).length,
    stopSeconds
  }
}

/** Prints the result as a table. */
export function printResult (t: Test, { clients, noticed, changes, worstGapMs, worstSilenceMs, seatsKept, stopSeconds }: RestartResult): void {
  if (changes.length > 0) t.comment(changes.join('; '))
  t.comment(`| clients | noticed | worst gap | worst silence | seats kept | servers stopped in |
|---|---|---|---|---|---|
| ${clients} | ${noticed} | ${Math.round(worstGapMs)} ms | ${Math.round(worstSilenceMs)} ms | ${seatsKept} | ${stopSeconds.map((seconds) => `${seconds.toFixed(1)} s`).join(', ')} |`)
}
