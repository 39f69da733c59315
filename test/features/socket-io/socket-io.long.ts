import t from 'tap'
import { sendFromEverywhere } from './order.ts'
import { reloadUnderClients } from './reloads.ts'

t.test('1,000 events on two servers arrive at all clients in the same order', async (t) => {
  await sendFromEverywhere(t, 1000)
})

t.test('100 reloads with 200 clients close no connection and lose no ack', async (t) => {
  t.ok(await reloadUnderClients(t, { clients: 200, reloads: 100 }) >= 200)
})
