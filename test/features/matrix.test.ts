import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { startBackend } from '../support/backend.ts'
import { build } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { connect, Refused } from '../support/client.ts'
import type { TestClient } from '../support/client.ts'
import { emptyArray } from '../support/empty-array.ts'
import { connectRadio } from '../support/radio.ts'
import { until } from '../support/retry.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../support/rtp.ts'
import { startReceiver, webhookEnv } from '../support/webhook-receiver.ts'
import type { Receiver } from '../support/webhook-receiver.ts'

// Checks that each feature can be disabled: the server starts, the other features keep working, and the messages of the
// disabled feature return FEATURE_DISABLED. To save time, a server may lack several features that do not use each
// other. In matrix-pairs.long.ts, each server lacks only one feature.

const folder = join(import.meta.dirname, '..', '..', 'features')
const features = readdirSync(folder).sort()

interface Scene {
  server: TestServer
  ada: TestClient
  bob: TestClient
  receiver: Receiver
  /** The replies to Ada's and Bob's first joins, in this order. */
  joined: Record<string, unknown>[]
}

/**
 * For each feature, `on` checks that the feature works, and `off` checks how other features behave while the feature is
 * disabled.
 */
const shows: Record<string, { on: (t: Test, scene: Scene) => Promise<void>, off?: (t: Test, scene: Scene) => Promise<void> }> = {
  auth: {
    async on (t, { server }) {
      t.match(await connect(t, server.url, {}).catch((error: unknown) => error), { status: 401 })
    }
  },
  media: {
    async on (t, { ada, joined }) {
      t.match(joined[0], { rtpCapabilities: { codecs: Array }, existingProducers: emptyArray })
      const { id: transportId } = await ada.ok('transport:create', { type: 'producer' })
      await ada.ok('transport:connect', { transportId, dtlsParameters })
      const { ok, error } = await ada.request('seat:take', { seatIndex: 0 })
      if (!ok) t.equal(error.code, 'FEATURE_DISABLED')
      t.match(await ada.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }), { id: String }, ok ? 'on a seat' : 'without seats all members may')
    },
    async off (t, { joined }) {
      t.notOk('rtpCapabilities' in (joined[0] ?? {}))
    }
  },
  seats: {
    async on (t, { ada, bob, joined }) {
      t.match(joined[1], { seatCount: 15, lockedSeats: emptyArray })
      await bob.ok('seat:take', { seatIndex: 3 })
      t.same(await ada.event('seat:updated', ({ userId }) => userId === 2), { roomId: '7', seatIndex: 3, userId: 2, isMuted: false })
      await ada.ok('seat:lock', { seatIndex: 3 })
      t.match(await bob.event('seat:cleared', ({ userId }) => userId === 2), { reason: 'locked' })
    },
    async off (t, { joined }) {
      t.notOk('seats' in (joined[0] ?? {}))
    }
  },
  chat: {
    async on (t, { ada, bob, server }) {
      await bob.ok('chat:message', { content: 'hello' })
      t.match(await ada.event('chat:message'), { userId: 2, content: 'hello' })
      t.match(await (await server.connect(9)).ok('room:join', { roomId: '7' }), { chatHistory: [{ content: 'hello' }] })
    },
    async off (t, { joined }) {
      t.notOk('chatHistory' in (joined[0] ?? {}))
    }
  },
  gifts: {
    async on (t, { ada, bob }) {
      const { transactionId } = await bob.ok('gift:send', { giftId: 5, recipientId: 1 })
      t.match(await ada.event('gift:received'), { transactionId, senderId: 2, recipientId: 1, giftId: 5, quantity: 1 })
    },
    async off (t, { server }) {
      t.equal((await server.admin('GET', '/admin/gifts/dead-letters')).status, 404)
    }
  },
  'auto-close': {
    async on (t, { server }) {
      const eve = await server.connect(5)
      await eve.ok('room:join', { roomId: '8' })
      await eve.ok('room:leave')
      await until(async () => (await server.admin('GET', '/admin/rooms/8')).status === 404)
    },
    async off (t, { server }) {
      const eve = await server.connect(5)
      await eve.ok('room:join', { roomId: '8' })
      await eve.ok('room:leave')
      await until(async () => (await server.app.store.listEmptyRooms(Date.now() - 1500, 1)).length === 1)
      t.equal((await server.admin('GET', '/admin/rooms/8')).status, 200, 'an empty room is kept')
    }
  },
  'laravel-bridge': {
    async on (t, { ada, joined }) {
      t.match(joined[0], { ownerId: 1 })
      t.equal(await ada.fails('room:join', { roomId: '404' }), 'ROOM_NOT_FOUND', 'the backend does not have this room')
      await ada.ok('room:join', { roomId: '7' })
    },
    async off (t, { server }) {
      t.match(await (await server.connect(5)).ok('room:join', { roomId: '404' }), { ownerId: 5, self: { role: 'owner' } }, 'the creator owns the room')
    }
  },
  mix: {
    async on (t, { ada, joined }) {
      t.match(joined[0], { mix: { recommended: false } })
      const { ok, error, data } = await ada.request('transport:create', { type: 'consumer' })
      if (!ok) t.equal(error.code, 'FEATURE_DISABLED', 'media is off')
      else t.match(await ada.ok('audio:consume', { transportId: data.id, producerId: 'mix', rtpCapabilities }), { producerId: 'mix' })
    },
    async off (t, { ada, joined }) {
      t.notOk('mix' in (joined[0] ?? {}))
      const { data } = await ada.request('transport:create', { type: 'consumer' })
      t.equal(await ada.fails('audio:consume', { transportId: data?.id ?? 'none', producerId: 'mix', rtpCapabilities }), 'FEATURE_DISABLED')
    }
  },
  recording: {
    async on (t, { ada, bob, joined }) {
      t.match(joined[0], { recording: null })
      t.equal(await bob.fails('recording:start'), 'FORBIDDEN')
      const { recordingId } = await until(async () => await ada.ok('recording:start'))
      t.match(await bob.event('recording:started'), { roomId: '7', recordingId, by: 1 })
      await ada.ok('recording:stop')
      t.match(await bob.event('recording:stopped'), { recordingId })
    },
    async off (t, { joined, server }) {
      t.notOk('recording' in (joined[0] ?? {}))
      t.equal((await server.admin('GET', '/admin/recordings')).status, 404)
    }
  },
  lobby: {
    async on (t, { ada, joined }) {
      const { rooms } = await ada.ok('lobby:list') as { rooms: Record<string, unknown>[] }
      const room = rooms.find(({ roomId }) => roomId === '7') ?? {}
      t.match(room, { ownerId: 1, participantCount: Number, isLocked: false, people: Array })
      t.equal('seated' in room, 'seats' in (joined[0] ?? {}), 'seats are listed if the feature is enabled')
    }
  },
  moderation: {
    async on (t, { ada, bob }) {
      t.equal(await bob.fails('room:lock'), 'FORBIDDEN')
      await ada.ok('room:lock')
      t.match(await bob.event('room:updated'), { roomId: '7', isLocked: true })
      await ada.ok('room:unlock')
    },
    async off (t, { ada, bob }) {
      await ada.ok('room:update', { title: 'Still possible' })
      t.match(await bob.event('room:updated'), { title: 'Still possible' })
    }
  },
  reactions: {
    async on (t, { ada, bob, joined }) {
      t.match(joined[1], { reactions: { emojis: Array } })
      await bob.ok('room:react', { emoji: '🔥' })
      t.same(await ada.event('room:reaction'), { roomId: '7', userId: 2, emoji: '🔥' })
    },
    async off (t, { joined }) {
      t.notOk('reactions' in (joined[0] ?? {}))
    }
  },
  broadcast: {
    async on (t, { server, ada, bob, receiver, joined }) {
      t.match(joined[0], { broadcast: null })
      t.strictSame(await ada.ok('broadcast:start'), { hlsUrl: '/hls/7/index.m3u8' })
      t.match(await bob.event('broadcast:started'), { roomId: '7' })
      await until(async () => (await fetch(`${server.url}/hls/7/index.m3u8`)).status === 200)
      await ada.ok('broadcast:stop')
    },
    async off (t, { server, joined }) {
      t.notOk('broadcast' in (joined[0] ?? {}))
      t.equal((await fetch(`${server.url}/hls/7/index.m3u8`)).status, 404)
    }
  },
  'socket-io': {
    async on (t, { server }) {
      t.equal((await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).status, 200)
    },
    async off (t, { server }) {
      t.equal((await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).status, 404)
    }
  },
  docs: {
    async on (t, { server }) {
      t.equal((await fetch(`${server.url}/docs/asyncapi.json`)).status, 200)
    },
    async off (t, { server }) {
      t.equal((await fetch(`${server.url}/docs/asyncapi.json`)).status, 404)
    }
  },
  'push-to-talk': {
    async on (t, { server }) {
      const radio = await connectRadio(t, server.url, 1, { claims: { channelIds: [5] } })
      radio.send(0, 1, 1, 5)
      t.same(await radio.next(6), [0, 6, 1, 5, 'Acknowledged'])
    },
    async off (t, { server }) {
      t.match(await connectRadio(t, server.url, 1).catch((error: unknown) => error), { status: 404 })
    }
  },
  webhooks: {
    async on (t, { server, receiver }) {
      await receiver.next('participant_joined', ({ roomId, data }) => roomId === '7' && data.userId === 2)
      t.match(await server.admin('GET', '/admin/webhooks'), { body: { queues: [{ isConfigured: true }], deadLetters: 0 } })
    },
    async off (t, { server, receiver }) {
      t.strictSame(receiver.requests, [])
      t.equal((await server.admin('GET', '/admin/webhooks')).status, 404)
    }
  },
  whip: {
    async on (t, { server }) {
      t.equal((await fetch(`${server.url}/whip/7`, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: 'v=0' })).status, 401)
    },
    async off (t, { server }) {
      t.equal((await fetch(`${server.url}/whip/7`, { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: 'v=0' })).status, 404)
    }
  },
  stage: {
    async on (t, { server }) {
      t.equal((await fetch(server.url)).status, 200)
    },
    async off (t, { server }) {
      t.equal((await fetch(server.url)).status, 404)
    }
  }
}

/** True if each server lacks only one feature and the slow checks run on every server. Set by matrix-pairs.long.ts. */
const allPairs = process.env.ALL_PAIRS !== undefined
/**
 * Features whose `on` checks are slow. Unless `allPairs` is true, these checks run only on the server that has all
 * features.
 */
const slow = ['auto-close', 'broadcast', 'docs', 'recording']
/** For each server, the features that are disabled on it. */
const absences = allPairs
  ? features.map((name) => [name])
  : [
      ['auth'], ['auto-close', 'lobby', 'media'], ['broadcast', 'seats', 'webhooks'], ['chat', 'recording', 'socket-io'], ['docs', 'gifts', 'mix'],
      ['laravel-bridge', 'push-to-talk', 'stage'], ['moderation', 'reactions', 'whip']
    ]

t.same(Object.keys(shows).sort(), features, 'the table covers every feature')
t.same(absences.flat().sort(), features, 'each feature is off once')

for (const without of [[], ...absences]) {
  t.test(without.length === 0 ? 'all features' : `without ${without.join()}`, async (t) => {
    const backend = await startBackend(t)
    backend.rooms.set('7', 1).set('8', 5)
    const receiver = await startReceiver(t)
    const names = features.filter((name) => !without.includes(name))
    const server = await build(t, { env: { ...backend.env, ...webhookEnv(receiver), EMPTY_ROOM_SECONDS: '0', FEATURES: names.join(',') } })
    t.same(server.app.features.list().filter(({ state }) => state === 'enabled').map(({ name }) => name), names, 'the other features run')

    if (without.includes('auth')) {
      const refusal = await server.connect(1).catch((error: unknown) => error)
      t.match(refusal, { status: 409 })
      t.ok(refusal instanceof Refused)
      return
    }
    const [ada, bob] = [await server.connect(1), await server.connect(2)]
    t.same(new Set(ada.greeting.features as string[]), new Set(names))
    const joined = [await ada.ok('room:join', { roomId: '7' }), await bob.ok('room:join', { roomId: '7' })]
    for (const [name, { on, off }] of Object.entries(shows)) {
      const isOff = without.includes(name)
      if (without.length > 0 && !isOff && slow.includes(name) && !allPairs) continue
      await t.test(`${name} ${isOff ? 'is off' : 'works'}`, async (t) => {
        await (isOff ? off : on)?.(t, { server, ada, bob, receiver, joined })
      })
    }
    for (const name of without) {
      const { requests = {} } = await import(join(folder, name, 'index.ts')) as { requests?: Record<string, unknown> }
      for (const type of Object.keys(requests)) t.equal(await ada.fails(type, {}), 'FEATURE_DISABLED', type)
    }
  })
}
