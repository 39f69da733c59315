import t from 'tap'
import { moderationModel } from './model.ts'

t.test('keeps the invariants on two servers, one of which is killed', async (t) => {
  await moderationModel(t, { users: 8, rounds: 3, actions: 8, killEvery: 2, oneProcess: true })
})
