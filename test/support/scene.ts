import { globSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { build } from './build.ts'
import type { TestServer } from './build.ts'
import type { TestClient } from './client.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from './rtp.ts'

/** The ids of a client's objects on the media server. */
export interface Media {
  producerTransport: string
  consumerTransport: string
  producer: string
  consumer: string
}

/** A room with a victim and an attacker who sends arbitrary frames. */
export interface Scene {
  server: TestServer
  attacker: TestClient
  /** Another member of the attacker's room. */
  victim: TestClient
  /**
   * Ids by name, such as `own.producer`. The prefix names the owner of the object: `own` (the attacker), `victim`, or
   * `stranger` (a user in another room).
   */
  ids: Map<string, string>
  /** Rejoins the room and recreates the attacker's media objects if necessary. */
  restore (): Promise<void>
  /**
   * Sends a frame and waits until the server has handled it.
   *
   * @returns all resulting replies and error events
   */
  exchange (text: string): Promise<Record<string, unknown>[]>
  /** Checks that the attack had no effect on other clients or the server. */
  unharmed (t: Test): Promise<void>
}

/** Returns all error codes of the kernel and the features, except INTERNAL. */
export async function knownCodes (): Promise<Set<string>> {
  const root = join(import.meta.dirname, '..', '..')
  const codes = new Set<string>()
  for (const file of globSync(['plugins/errors/codes.ts', 'plugins/*/errors.ts', 'features/*/errors.ts'], { cwd: root })) {
    const module = await import(join(root, file)) as Record<string, unknown>
    for (const made of Object.values(module)) {
      if (typeof made !== 'function' || !(made.prototype instanceof Error)) continue
      codes.add((new (made as new () => { code: string })()).code)
    }
  }
  codes.delete('INTERNAL')
  return codes
}

/**
 * Gives a client a seat (if the `seats` feature is enabled), two transports, a producer and a consumer. By default, the
 * client consumes its own producer.
 */
async function equip (client: TestClient, seatIndex: number, source?: string): Promise<Media> {
  const { ok, error } = await client.request('seat:take', { seatIndex })
  if (!ok && error.code !== 'FEATURE_DISABLED') throw new Error(`no seat ${seatIndex}: ${error.code}`)
  const [producerTransport, consumerTransport] = await Promise.all((['producer', 'consumer'] as const).map(async (type) => String((await client.ok('transport:create', { type })).id)))
  const producer = String((await client.ok('audio:produce', { transportId: producerTransport, kind: 'audio', rtpParameters: rtpParameters() })).id)
  const consumed = await client.ok('audio:consume', { transportId: consumerTransport, producerId: source ?? producer, rtpCapabilities })
  return { producerTransport: String(producerTransport), consumerTransport: String(consumerTransport), producer, consumer: String(consumed.id) }
}

export async function scene (t: Test, env: Record<string, string> = {}): Promise<Scene> {
  const rejections: unknown[] = []
  const onRejection = (reason: unknown) => { rejections.push(reason) }
  process.on('unhandledRejection', onRejection)
  t.teardown(() => process.off('unhandledRejection', onRejection))

  const server = await build(t, { env: { WS_MESSAGES_PER_SECOND: '100000', WS_MESSAGES_BURST: '100000', WS_BYTES_PER_SECOND: '1000000000', WS_BYTES_BURST: '1000000000', ...env } })
  const { app } = server
  const logged: unknown[] = []
  app.log.error = ((...args: unknown[]) => { logged.push(args) }) as typeof app.log.error
  const [attacker, victim, stranger] = [await server.connect('attacker'), await server.connect('victim'), await server.connect('stranger')]
  await victim.ok('room:join', { roomId: 'r1' })
  await attacker.ok('room:join', { roomId: 'r1' })
  await stranger.ok('room:join', { roomId: 'r2' })

  const ids = new Map<string, string>()
  const name = (whose: string, media: Media) => { for (const [what, id] of Object.entries(media)) ids.set(`${whose}.${what}`, id) }
  const victims = await equip(victim, 0)
  name('victim', victims)
  await victim.ok('transport:connect', { transportId: victims.producerTransport, dtlsParameters })
  name('stranger', await equip(stranger, 0))
  const workers = app.sfu.workers().map(({ pid }) => pid)

  const outcomes = app.metrics.counter('flylive_socket_events_total', '', ['event', 'status'])
  const handled = async () => (await outcomes.get()).values.reduce((sum, { value }) => sum + value, 0)
  const attackersSession = () => app.sockets.get(String(attacker.greeting.sessionId))

  async function restore () {
    const own = app.sfu.describe('r1')?.transports.filter(({ userId }) => userId === 'attacker').map(({ transportId }) => transportId) ?? []
    const same = ['own.producerTransport', 'own.consumerTransport'].every((name) => own.includes(ids.get(name) ?? ''))
    if (attackersSession()?.roomId === 'r1' && same && app.sfu.producersOf('r1').some(({ producerId }) => producerId === ids.get('own.producer'))) return
    await attacker.ok('room:join', { roomId: 'r1' })
    name('own', await equip(attacker, 1, victims.producer))
  }
  await restore()

  return {
    server,
    attacker,
    victim,
    ids,
    restore,
    async exchange (text) {
      const [before, from] = [await handled(), attacker.events.length]
      attacker.send(text)
      // Successful requests without an id have no reply, so wait until the metric counts the request.
      while (await handled() === before) {
        if (attackersSession()?.open !== true) throw new Error(`the connection was closed by ${text.slice(0, 500)}`)
        await new Promise((resolve) => setImmediate(resolve))
      }
      await attacker.flush()
      const count = await handled()
      if (count !== before + 2) throw new Error(`handled ${count - before - 1} times: ${text.slice(0, 500)}`)
      return attacker.events.slice(from).filter((message) => 'ok' in message || message.type === 'error') as unknown as Record<string, unknown>[]
    },
    async unharmed (t) {
      t.same(app.sfu.workers().map(({ pid }) => pid), workers, 'no media worker died')
      t.same(rejections, [], 'no rejection is unhandled')
      t.same(logged, [], 'no error was logged')
      for (const client of [attacker, victim, stranger]) await client.flush()
      t.same(await victim.ok('user:getRoom', { userId: 'victim' }), { roomId: 'r1' })
      t.match(await victim.ok('transport:restartIce', { transportId: victims.producerTransport }), { iceParameters: { usernameFragment: String } })
      await victim.ok('consumer:resume', { consumerId: victims.consumer })
      t.ok(app.sfu.producersOf('r1').some(({ producerId, isPaused }) => producerId === victims.producer && !isPaused), "the victim's producer is unaffected")
      t.equal(app.sfu.producersOf('r2').length, 1)
      t.equal(victim.events.some(({ type }) => type === 'error' || type === 'media:reset' || type === 'consumer:closed'), false)
    }
  }
}
