import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { observer } from 'mediasoup'
import type { types } from 'mediasoup'
import type { Test } from 'tap'
import type { Injection } from '../../../plugins/media/injection.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { createRandom } from '../../support/random.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const roomId = 'r1'

/** All open transports and routers of this process. */
const transports = new Set<types.Transport>()
const routers = new Set<types.Router>()
observer.on('newworker', (worker) => worker.observer.on('newrouter', (router) => {
  routers.add(router)
  router.observer.once('close', () => routers.delete(router))
  router.observer.on('newtransport', (transport) => {
    transports.add(transport)
    transport.observer.once('close', () => transports.delete(transport))
  })
}))

/** @returns the local UDP ports of a process; undefined if the system does not list them */
function udpPorts (pid: number): number[] | undefined {
  if (!existsSync('/proc/net/udp')) return undefined
  const inodes = new Set(readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).match(/^socket:\[(\d+)\]$/)?.[1] ?? []
    } catch {
      // The process closed the file descriptor after the listing.
      return []
    }
  }))
  const rows = ['udp', 'udp6'].flatMap((file) => readFileSync(`/proc/net/${file}`, 'utf8').trim().split('\n').slice(1))
  return rows.map((row) => row.trim().split(/\s+/)).filter((fields) => inodes.has(fields[9] as string)).map((fields) => parseInt((fields[1] as string).split(':')[1] as string, 16))
}

/**
 * Takes random steps on three servers: members join and leave, create transports, and take and leave seats; services
 * create, pause and close producers. After every tenth step, every server must list exactly the existing producers. At
 * the end, no router, transport or port must be left, and the state of the room must be the same as at the beginning.
 */
export async function churn (t: Test, steps: number): Promise<void> {
  const env = { FEATURES: 'auth,media,seats', REDIS_URL: await redisDatabase(), JOINS_PER_MINUTE: '100000', RATE_LIMIT_MESSAGES_PER_MINUTE: '10000', SEAT_COMMANDS_PER_MINUTE: '10000', SEAT_GRACE_SECONDS: '0' }
  const servers = [await build(t, { env }), await build(t, { env }), await build(t, { env })] as [TestServer, TestServer, TestServer]
  const random = createRandom(7)
  const members: { client: TestClient, server: TestServer, transportId?: string }[] = []
  const voices: { injection: Injection, server: TestServer, isPaused: boolean }[] = []
  // These members stay, so that each server keeps the room and its media state.
  for (const [i, server] of servers.entries()) await (await server.connect(1000 + i)).ok('room:join', { roomId })
  const room = async ({ admin }: TestServer) => {
    const { participants, seats, producers, transports } = (await admin('GET', `/admin/rooms/${roomId}`)).body as Record<string, unknown>
    return { participants, seats, producers, transports }
  }
  const before = await room(servers[0])
  const agree = async () => {
    const expected = voices.map(({ injection: { producerId }, isPaused }) => `${producerId} ${isPaused}`).sort()
    const known = ({ app }: TestServer) => app.sfu.producersOf(roomId).map(({ producerId, isPaused }) => `${producerId} ${isPaused}`).sort()
    await until(() => servers.every((server) => JSON.stringify(known(server)) === JSON.stringify(expected)), 5000)
  }
  const actions = [
    async (server: TestServer) => {
      const client = await server.connect(1 + random(50))
      await client.ok('room:join', { roomId })
      const { id } = await client.ok('transport:create', { type: 'consumer' }) as { id: string }
      members.push({ client, server, transportId: id })
    },
    async () => {
      const [member] = members.splice(random(members.length), 1)
      await member?.client.close()
    },
    async () => {
      const member = members[random(members.length)]
      await member?.client.request(random(2) === 0 ? 'seat:take' : 'seat:leave', { seatIndex: random(15) })
    },
    async (server: TestServer) => {
      const injection = await server.app.sfu.inject(roomId, { userId: 1, userKey: '1', nodeId: server.app.nodeId, kind: 'service' }, { ssrc: 1 + random(1_000_000) })
      voices.push({ injection, server, isPaused: false })
    },
    async () => {
      const [voice] = voices.splice(random(voices.length), 1)
      voice?.injection.close()
    },
    async () => {
      const voice = voices[random(voices.length)]
      const handle = voice?.server.app.sfu.producerHandles(roomId).find(({ producerId }) => producerId === voice.injection.producerId)
      if (!voice || !handle) return
      voice.isPaused = !voice.isPaused
      await (voice.isPaused ? handle.pause('server') : handle.resume('server'))
    }
  ]
  for (let step = 1; step <= steps; step++) {
    const server = servers[random(servers.length)] as TestServer
    await actions[random(actions.length)]?.(server)
    if (step % 10 === 0) await agree()
  }
  await agree()
  for (const { injection } of voices.splice(0)) injection.close()
  for (const { client } of members.splice(0)) await client.close()
  await agree()
  await until(() => servers.every(({ app }) => app.sfu.relays().sources === 0 && app.sfu.relays().sinks === 0), 20_000)
  await until(() => transports.size === 0 && routers.size === 0)
  for (const { app } of servers) {
    t.same([...app.sockets.all()].length, 1)
    for (const { pid, port } of app.sfu.workers()) t.same(udpPorts(pid) ?? [port], [port], 'a worker has only the port for clients')
  }
  for (const server of servers) await until(async () => JSON.stringify(await room(server)) === JSON.stringify(before))
  t.same({ transports: transports.size, routers: routers.size }, { transports: 0, routers: 0 }, `nothing is left after ${steps} steps`)
}
