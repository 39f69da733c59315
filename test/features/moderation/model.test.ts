import t from 'tap'
import { moderationModel } from './model.ts'

t.test('no rule is broken on two servers of which one is killed', async (t) => {
  await moderationModel(t, { users: 10, rounds: 4, actions: 8, killEvery: 3 })
})
