import t from 'tap'
import { sendFromEverywhere } from './order.ts'

t.test('all clients on two servers receive the events of a room in the same order', async (t) => {
  await sendFromEverywhere(t, 240)
})
