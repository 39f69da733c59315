import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { createRelay } from '../../client/relay.ts'
import { adminKey, shortTimings } from '../../support/build.ts'
import { lostPackets } from '../../support/lost-packets.ts'
import { buildMortal } from '../../support/mortal.ts'
import { createNetwork } from '../../support/namespaces.ts'
import type { NetworkHost, TestNetwork } from '../../support/namespaces.ts'
import { startServer } from '../../support/process.ts'
import { freePort, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createVisitors } from '../../support/visitors.ts'
import { createTone } from '../../support/wrtc.ts'

interface Server {
  url: string
  kill (): void
  host: NetworkHost | undefined
}

export type ThreeServers = Awaited<ReturnType<typeof startThree>>

interface ThreeOptions {
  inNamespaces?: boolean
  /** True if the servers run in this process and `kill` only simulates a kill. */
  inProcess?: boolean
  env?: Record<string, string>
}

/** Starts three servers that share one Redis. */
export async function startThree (t: Test, { inNamespaces = false, inProcess = false, env = {} }: ThreeOptions = {}) {
  const network: TestNetwork | undefined = inNamespaces ? createNetwork(t, 3) : undefined
  const redis = await startRedis(t, network?.ip)
  const ports = network ? [3030, 3030, 3030] : [await freePort(), await freePort(), await freePort()]
  const urls = ports.map((port, i) => `node-${i}=http://${network?.hosts[i]?.ip ?? '127.0.0.1'}:${port}`)
  const start = async (i: number): Promise<Server> => {
    const host = network?.hosts[i]
    const options = { FEATURES: 'auth,media,seats', NODE_ID: `node-${i}`, NODE_URLS: urls.join(','), REDIS_URL: redis.url, ...env }
    const port = ports[i] as number
    if (inProcess) {
      const { url, kill } = await buildMortal(t, { env: options, port, timings: shortTimings })
      return { url, host, kill }
    }
    const { child, url } = startServer(t, {
      PORT: String(port),
      MEDIASOUP_WORKERS: '1',
      ...(host ? { HOST: host.ip, MEDIASOUP_LISTEN_IP: host.ip } : {}),
      ...options
    }, undefined, undefined, host?.launcher)
    return { url: await url, host, kill: () => { child.kill('SIGKILL') } }
  }
  const servers = await Promise.all([0, 1, 2].map(start)) as [Server, Server, Server]

  return {
    network,
    redis,
    servers,
    ...createVisitors(t),
    /** Restarts a server that has ended. */
    async restart (i: number) {
      servers[i] = await start(i)
    },
    /** Returns the URL of a server. */
    hostOf: (i: number) => (servers[i] as Server).url
  }
}

/** @returns the value of a metric, summed over its labels */
export async function metric ({ url }: Pick<Server, 'url'>, name: string): Promise<number> {
  const response = await fetch(`${url}/admin/metrics`, { headers: { authorization: `Bearer ${adminKey}` } })
  const { metrics } = await response.json() as { metrics: { name: string, samples: { value: number }[] }[] }
  return metrics.find((one) => one.name === name)?.samples.reduce((sum, { value }) => sum + value, 0) ?? 0
}

const since = (at: number) => Math.round(performance.now() - at)

/**
 * Connects speakers to A and B, and a listener to C.
 *
 * @returns the time from the join until the listener receives both speakers, in milliseconds, and the number of packets
 *   lost within three seconds
 */
export async function heardAfterJoin (t: Test, options: { inNamespaces: boolean }) {
  const { servers: [a, b, c], speak, listen } = await startThree(t, options)
  await speak(a.url, 1)
  await speak(b.url, 2)
  const at = performance.now()
  const eve = await listen(c.url, 3)
  await until(() => eve.hears(1) && eve.hears(2))
  const heardMs = since(at)
  await delay(3000)
  t.ok(eve.hears(1, 500) && eve.hears(2, 500))
  return { heardMs, lost: await lostPackets() }
}

/**
 * Kills server A. A has a speaker and a listener, B has a speaker, and C has a listener.
 *
 * @returns the time until A's listener hears B's speaker again, the longest silence of B's speaker at C's listener, and
 *   the time until A's producer is removed, all in milliseconds
 */
export async function killOne (t: Test, { servers: [a, b, c], speak, listen }: ThreeServers) {
  const { hostname } = new URL(a.url)
  // Without namespaces, a relay acts as the listener's load balancer. With namespaces, the test itself connects the
  // listener to server B.
  const relay = hostname === '127.0.0.1' ? await createRelay(t, a.url) : undefined
  const speaker = await speak(a.url, 1)
  await speak(b.url, 2)
  const moved = await listen(relay?.url ?? a.url, 3)
  const still = await listen(c.url, 4)
  await until(() => moved.hears(2) && still.hears(1) && still.hears(2))
  await moved.room.seats.takeFree()
  const seat = moved.room.seats.own?.seatIndex
  still.watch()
  speaker.close()
  await until(() => !still.hears(1, 200))
  const second = await speak(a.url, 5)
  await until(() => still.hears(5))
  let enteredAt = -Infinity
  moved.room.on('entered', () => { enteredAt = performance.now() })
  still.watch()
  const at = performance.now()
  a.kill()
  second.close()
  let listener = moved
  if (relay) await relay.mend(b.url)
  else {
    moved.room.close()
    listener = await listen(b.url, 3)
    enteredAt = at
  }
  await until(() => enteredAt >= at && listener.lastSound(2) > enteredAt && listener.room.seats.own !== undefined)
  const heardMs = since(at)
  t.equal(listener.room.seats.own?.seatIndex, seat, 'the seat is kept')
  await until(() => still.room.audio?.producers.every(({ userId }) => userId !== 5) === true, 30_000)
  const goneMs = since(at)
  return { heardMs, silenceMs: Math.round(still.longestSilence(2)), goneMs }
}

/**
 * Cuts the network between A and C.
 *
 * @returns the time from restoring the link until C receives A's speaker again, and the longest silence of B's speaker
 *   at C, both in milliseconds
 */
export async function cutLink (t: Test, seconds: number) {
  const { network, servers: [a, b, c], speak, listen } = await startThree(t, { inNamespaces: true })
  await speak(a.url, 1)
  await speak(b.url, 2)
  const eve = await listen(c.url, 3)
  await until(() => eve.hears(1) && eve.hears(2))
  // Servers A and B each send audio to two servers and receive audio from one server; server C receives audio from two
  // servers.
  const hasOnePipeEach = () => until(async () => JSON.stringify(await Promise.all([a, b, c].map((server) => metric(server, 'flylive_relay_pipes')))) === '[3,3,2]', 20_000)
  await hasOnePipeEach()
  const [hostA, , hostC] = network?.hosts as [NetworkHost, NetworkHost, NetworkHost]
  network?.link(hostA, hostC, false)
  eve.watch()
  await delay(seconds * 1000)
  t.notOk(eve.hears(1, 1000), 'the link is down')
  const producers = eve.room.audio?.producers.filter(({ userId }) => userId === 1) ?? []
  t.equal(producers.length, 1, 'the voice is still announced')
  const silenceMs = Math.round(eve.longestSilence(2))
  network?.link(hostA, hostC, true)
  const at = performance.now()
  await until(() => eve.hears(1))
  const heardMs = since(at)
  await hasOnePipeEach()
  return { heardMs, silenceMs }
}

/**
 * Kills Redis, and restarts it later.
 *
 * @returns the longest silence, the number of lost packets, and the time from the restart until the listener receives a
 *   new speaker; times are in milliseconds
 */
export async function loseRedis (t: Test, seconds: number, options: { inNamespaces: boolean }) {
  const { redis, servers: [a, b, c], speak, listen } = await startThree(t, options)
  await speak(a.url, 1)
  const eve = await listen(c.url, 3)
  const late = await speak(b.url, 2)
  await until(() => eve.hears(1) && eve.hears(2))
  await late.audio?.unpublish()
  await until(() => !eve.hears(2, 300))
  eve.watch()
  const lostBefore = await lostPackets()
  await redis.kill()
  await delay(seconds * 1000)
  const silenceMs = Math.round(eve.longestSilence(1))
  const lost = await lostPackets() - lostBefore
  // The speaker starts while Redis is down, so only the speaker's own server has the producer.
  await late.audio?.publish(createTone(t))
  await redis.start()
  const at = performance.now()
  await until(() => eve.hears(2), 20_000)
  return { silenceMs, lost, heardMs: since(at) }
}

/**
 * Drains server A, which has a seated listener, while server B has a speaker.
 *
 * @returns the listener's longest time without audio, in milliseconds
 */
export async function drainOne (t: Test, options: { inNamespaces: boolean }) {
  const { servers: [a, b], speak, listen } = await startThree(t, options)
  await speak(b.url, 1)
  const eve = await listen(a.url, 2)
  await eve.room.seats.takeFree()
  await until(() => eve.hears(1))
  const states: string[] = []
  eve.room.on('state', (state) => states.push(state))
  let lostSeat = false
  eve.room.connection.on('seat:cleared', () => { lostSeat = true })
  eve.watch()
  const response = await fetch(`${b.url}/admin/nodes/node-0`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ state: 'drain', deadlineSeconds: 4 })
  })
  t.equal(response.status, 200)
  await until(async () => await metric(a, 'flylive_socket_connections') === 0)
  await until(() => eve.hears(1))
  await delay(1000)
  t.same(states, [], 'the client stays in the room')
  t.notOk(lostSeat, 'the seat is kept')
  return { silenceMs: Math.round(eve.longestSilence(1)) }
}
