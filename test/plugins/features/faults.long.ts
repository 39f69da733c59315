import t from 'tap'
import { createScene, misbehaviours, tableOf } from './faults.ts'
import type { Noticed } from './faults.ts'

// For each kind of programming mistake in a feature, prints how the mistake affects 100 members of a room.

t.test("a feature's mistakes do not affect 100 members of a room", async (t) => {
  const scene = await createScene(t, { members: Number(process.env.MEMBERS ?? 100), deadlineSeconds: 10 })
  const rows: Noticed[] = []
  for (const one of misbehaviours) {
    const noticed = await scene.tryOut(one)
    rows.push(noticed)
    t.match(noticed, { closed: 0, lost: 0 }, one.name)
  }
  console.log(tableOf(rows))
})
