import t from 'tap'
import type { Test } from 'tap'
import { v7 } from 'uuid'
import { RoomClient, RoomGifts } from '../../client/index.ts'
import type { Connection, ConnectionEvents } from '../../client/index.ts'
import { Emitter } from '../../client/emitter.ts'
import { timeOf } from '../../features/gifts/messages.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { createRelay } from './relay.ts'
import { backoff } from './watch.ts'

// The backend is unreachable, so the gifts stay queued.
const env = { FEATURES: 'auth,gifts', LARAVEL_API_URL: 'http://127.0.0.1:9', LARAVEL_INTERNAL_KEY: 'x'.repeat(32) }
const queued = async (server: TestServer) => (await server.admin('GET', '/admin/gifts')).body?.queued

async function enter (t: Test, url: string, id: number) {
  const room = new RoomClient({ url, token: () => tokenFor(id), audio: false, backoff })
  t.teardown(() => room.close())
  const shown: unknown[] = []
  room.gifts.on('received', ({ transactionId }) => shown.push(transactionId))
  await room.join('r1')
  return { room, shown }
}

t.test('sends each gift once and emits received gifts', async (t) => {
  const server = await build(t, { env })
  const [{ room }, { shown }] = [await enter(t, server.url, 1), await enter(t, server.url, 2)]
  const replies = [await room.gifts.send({ giftId: 7, recipientId: 2 }), await room.gifts.send({ giftId: 7, recipientId: 2 }), ...await Promise.all([1, 2].map(() => room.gifts.send({ giftId: 7, recipientId: 2 })))]
  t.equal(new Set(replies.map(({ transactionId }) => transactionId)).size, 4)
  await until(() => shown.length === 4)
  t.same(shown, replies.map(({ transactionId }) => transactionId))
  t.equal(await queued(server), 4)
  await t.rejects(room.gifts.send({ giftId: 0, recipientId: 2 }), { code: 'VALIDATION_FAILED' })
  await room.leave()
  await t.rejects(room.gifts.send({ giftId: 7, recipientId: 2 }), { code: 'NOT_IN_ROOM' })
})

t.test('resends a gift with the same key after a lost reply', async (t) => {
  const server = await build(t, { env })
  const relay = await createRelay(t, server.url)
  const [{ room }, { shown }] = [await enter(t, relay.url, 1), await enter(t, server.url, 2)]
  // Discard the replies to accepted gifts.
  for (const session of server.app.sockets.ofUser('1')) session.write = session.reply = () => {}
  const lost = [room.gifts.send({ giftId: 7, recipientId: 2 }), room.gifts.send({ giftId: 7, recipientId: 2 }), room.gifts.send({ giftId: 8, recipientId: 2 })]
  const failures = Promise.all(lost.map((sending) => t.rejects(sending, { code: 'CONNECTION_LOST' })))
  await until(() => shown.length === 3)
  await relay.cut()
  await failures
  await t.rejects(room.gifts.send({ giftId: 7, recipientId: '2' }), { code: 'NOT_CONNECTED' }, 'a gift that was not sent does not discard the keys of other gifts')
  await relay.mend()
  await until(() => room.state === 'in')

  const again = [await room.gifts.send({ giftId: 7, recipientId: 2, quantity: 1 }), await room.gifts.send({ giftId: 8, recipientId: 2 }), await room.gifts.send({ giftId: 7, recipientId: 2 })]
  t.same(new Set(again.map(({ transactionId }) => transactionId)), new Set(shown))
  t.equal(await queued(server), 3)
  const { transactionId } = await room.gifts.send({ giftId: 7, recipientId: 2 })
  await until(() => shown.length === 4)
  t.equal(shown[3], transactionId, 'the next gift has a new key')
})

t.test('emits a repeated gift event once', async (t) => {
  const server = await build(t, { env })
  const { shown } = await enter(t, server.url, 1)
  const gift = { roomId: 'r1', senderId: 2, giftId: 7, recipientId: 1, quantity: 1, timestamp: Date.now() }
  const [first, last] = [v7(), v7()]
  for (const transactionId of [first, first, last]) for (const session of server.app.sockets.ofUser('1')) session.send('gift:received', { ...gift, transactionId })
  await until(() => shown.includes(last))
  t.same(shown, [first, last])
})

t.test('creates keys with the server\'s time', async (t) => {
  const keys: string[] = []
  class Far extends Emitter<ConnectionEvents> {
    hello (serverTime: number) {
      this.emit('session:ready', { sessionId: 's', userId: 1, protocol: 'msab.v1', features: [], serverTime })
    }

    async request (_type: string, { key }: { key: string }) {
      keys.push(key)
      return { transactionId: v7() }
    }
  }
  const far = new Far()
  const gifts = new RoomGifts(far as unknown as Connection, () => 'r1')
  for (const days of [0, 3, -3]) {
    const serverTime = Date.now() + days * 86_400_000
    far.hello(serverTime)
    await gifts.send({ giftId: 7, recipientId: 2 })
    const off = timeOf(keys.at(-1) as string) - serverTime
    t.ok(off >= 0 && off < 10_000, `${days} days: deviates by ${off} ms`)
  }
})
