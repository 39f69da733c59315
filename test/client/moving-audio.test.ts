import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/retry.ts'
import { followSound } from '../support/sound.ts'
import { createTone } from '../support/wrtc.ts'
import { createRelay } from './relay.ts'
import { backoff } from './watch.ts'

/** How long the test delays the connection of transports to the second server, in milliseconds. */
const connectMs = 1500

/**
 * Starts two servers.
 *
 * @param settings environment of both servers
 */
async function start (t: Test, settings: Record<string, string> = {}) {
  const { url: REDIS_URL } = await startRedis(t)
  const env = { REDIS_URL, FEATURES: 'auth,media,seats', MEDIASOUP_WORKERS: '1', ...settings }
  const [a, b] = [await build(t, { env }), await build(t, { env })]
  return { a, b, relay: await createRelay(t, a.url) }
}

/** Joins as a user who speaks and listens. */
async function talk (t: Test, url: string, id: number) {
  const room = new RoomClient({ url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111', receive: 'voices' }, backoff })
  t.teardown(() => room.close())
  await room.join('r1')
  await room.seats.takeFree()
  await room.audio?.publish(createTone(t))
  return { room, sound: followSound(t, room) }
}

/**
 * Moves a client from one server to another, and measures how long the audio is silent.
 *
 * @param settings environment of both servers
 */
async function move (t: Test, settings: Record<string, string>) {
  const { a, b, relay } = await start(t, settings)
  const [ada, bob] = [await talk(t, relay.url, 1), await talk(t, b.url, 2)]
  await until(() => ada.sound.hears(2) && bob.sound.hears(1))
  // Cat leaves the room before she has completely moved to the second server.
  const cat = await talk(t, relay.url, 3)
  cat.room.on('entered', () => { cat.room.leave() })
  const cleared = new Promise((resolve) => bob.room.connection.on('seat:cleared', ({ userId, reason }) => resolve([userId, reason])))
  const states: string[] = []
  ada.room.audio?.on('state', (state) => states.push(`audio ${state}`))
  ada.room.audio?.on('microphone', (state) => states.push(`microphone ${state}`))
  const { connectTransport } = b.app.sfu
  b.app.sfu.connectTransport = async (...transport) => {
    await delay(connectMs)
    await connectTransport(...transport)
  }
  await relay.mend(b.url)
  for (const { sound } of [ada, bob]) sound.watch()
  t.equal(await a.app.drain.begin(10), 'empty', 'the connection to the first server is closed')
  t.match([...b.app.sockets.ofUser('1')], [{ roomId: 'r1' }])
  t.same(await cleared, [3, 'left'])
  await until(() => ada.sound.hears(2) && bob.sound.hears(1))
  // Wait, because clients keep the old track until the new track plays.
  await until(() => bob.room.audio?.producers.length === 1 && [ada, bob].every(({ room }) => room.audio?.heard.length === 1))
  const [received, sent] = [Math.round(ada.sound.longestSilence(2)), Math.round(bob.sound.longestSilence(1))]
  t.comment(`longest silence: ${received} ms for the client that moved, ${sent} ms for the other one`)
  t.ok(received < connectMs / 2, `${received} ms`)
  t.ok(sent < connectMs / 2, `${sent} ms`)
  t.same(states, [], 'the state of the audio does not change')
  await until(() => a.app.sfu.load().consumers === 0 && a.app.sfu.relays().sources === 0 && a.app.sfu.relays().sinks === 0)
}

// moving-audio.long.ts sets ALL_CASES. With SINGLE_SESSION, the second server can also close the client's session on
// the first server.
for (const single of process.env.ALL_CASES === undefined ? ['true'] : ['false', 'true']) {
  t.test(`a client that moves to another server keeps its audio on the first server until it is connected to the second, with SINGLE_SESSION=${single}`, (t) => move(t, { SINGLE_SESSION: single }))
}

t.test('a client that unpublishes its track while it moves to another server stops sending to the first server immediately', async (t) => {
  const { a, b, relay } = await start(t)
  const [ada, bob] = [await talk(t, relay.url, 1), await talk(t, b.url, 2)]
  await until(() => ada.sound.hears(2) && bob.sound.hears(1))
  // The transports to the second server do not connect, so the client keeps the transports to the first server for 8 s.
  b.app.sfu.connectTransport = () => new Promise(() => {})
  const unpublished = new Promise<void>((resolve) => ada.room.on('entered', () => {
    ada.room.audio?.unpublish()
    resolve()
  }))
  await relay.mend(b.url)
  a.app.drain.begin(30)
  await unpublished
  await until(() => !bob.sound.hears(1) && ada.sound.hears(2))
  t.pass('the transports to the first server are still open')
})
