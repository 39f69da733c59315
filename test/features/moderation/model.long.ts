import t from 'tap'
import { moderationModel } from './model.ts'

t.test('keeps the invariants for 30 users on two servers that are killed', async (t) => {
  await moderationModel(t, { users: 30, rounds: 40, actions: 20, killEvery: 4 })
})
