import t from 'tap'
import { processGifts } from '../../../features/laravel-bridge/gifts.ts'
import type { GiftTransaction } from '../../../features/gifts/processor.ts'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import { clientOf } from './support.ts'

const gift = (transactionId: string, quantity = 1): GiftTransaction => ({ transactionId, roomId: '7', senderId: 1, recipientId: 2, giftId: 3, quantity, timestamp: 1_700_000_000_000 })

t.test('sends a batch as the contract specifies and returns the rejected gifts', async (t) => {
  const backend = await startBackend(t)
  backend.balances.set('1', 5)
  const { client } = clientOf(t, backend)
  t.same(await processGifts(client, [gift('a', 4), gift('b', 4)]), { failed: [{ transactionId: 'b', code: 4002, reason: 'Insufficient balance' }] })
  t.same(backend.requests[0]?.body, {
    transactions: [
      { transaction_id: 'a', room_id: '7', sender_id: 1, recipient_id: 2, gift_id: 3, quantity: 4, timestamp: 1_700_000_000_000 },
      { transaction_id: 'b', room_id: '7', sender_id: 1, recipient_id: 2, gift_id: 3, quantity: 4, timestamp: 1_700_000_000_000 }
    ]
  })
  t.same(await processGifts(client, []), { failed: [] })
  t.equal(backend.calls('gifts'), 1, 'an empty batch makes no call')
})

t.test('gifts with an unknown outcome can be sent again', async (t) => {
  const backend = await startBackend(t)
  const { client } = clientOf(t, backend)
  backend.fault({ kind: 'reset-after', times: 1 })
  await t.rejects(processGifts(client, [gift('a')]), { code: 'BACKEND_FAILED' })
  t.same(await processGifts(client, [gift('a')]), { failed: [] })
  t.match(backend.ledger.get('a'), { applied: 1, received: 2 })
  backend.fault({ kind: 'status', status: 503, times: 1 })
  await t.rejects(processGifts(client, [gift('b')]), { code: 'UNAVAILABLE' })
})

t.test('rejects a response that does not match the batch', async (t) => {
  const backend = await startBackend(t)
  const answers = [
    { processed_count: 1, failed: [] },
    { processed_count: 1, failed: [{ transaction_id: 'another', code: 1, reason: '' }] },
    { processed_count: 0, failed: [{ transaction_id: 'a', code: 1, reason: '' }, { transaction_id: 'a', code: 1, reason: '' }] },
    {},
    { processed_count: 2 },
    { processed_count: 2, failed: [{ transaction_id: 'a' }] }
  ]
  for (const body of answers) {
    const odd = await startBackend(t, { extra: () => ({ status: 200, body }) })
    await t.rejects(processGifts(clientOf(t, odd).client, [gift('a'), gift('b')]), { code: 'BACKEND_FAILED' }, JSON.stringify(body))
  }
  await t.rejects(processGifts(clientOf(t, backend, { url: `${backend.url}/wrong` }).client, [gift('a')]), { code: 'BACKEND_FAILED' }, 'a backend without this route')
})

t.test('shortens the reason of a rejected gift', async (t) => {
  const backend = await startBackend(t)
  backend.fault({ kind: 'reject', reason: `${'x'.repeat(499)}🎁${'x'.repeat(100_000)}` })
  const { failed } = await processGifts(clientOf(t, backend).client, [gift('a')])
  t.match(failed, [{ transactionId: 'a', reason: /^x{499}.$/u }])
  t.ok(failed[0]?.reason.isWellFormed())
})

t.test('other features access the bridge with getFeature', async (t) => {
  const backend = await startBackend(t)
  const { app } = await build(t, { env: backend.env })
  t.same(await app.features.getFeature('laravel-bridge')?.processGifts([gift('a')]), { failed: [] })
  t.ok(backend.ledger.has('a'))
})
