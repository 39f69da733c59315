import fc from 'fast-check'
import t from 'tap'
import { busyMs, expire, hardReleaseMs, release, renew, take } from '../../../features/push-to-talk/floor.ts'
import type { FloorState } from '../../../features/push-to-talk/floor.ts'
import { build } from '../../support/build.ts'
import { redisDatabase } from '../../support/redis.ts'
import { playFloor } from './floor-model.ts'

const command = fc.record({ type: fc.constantFrom('take', 'renew', 'release', 'expire'), user: fc.integer({ min: 1, max: 3 }), waitMs: fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 100_000 })) })

t.test('at most one user has the floor, and nobody keeps it for more than 95 s if another user wants it', async (t) => {
  fc.assert(fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
    let state: FloorState | undefined
    let now = 1_000_000
    let talks = 0
    const talkOf = new Map<number, string>()
    for (const { type, user, waitMs } of commands) {
      now += waitMs
      const before = state?.holder
      const talkId = type === 'take' ? `${user}-${++talks}` : talkOf.get(user) ?? ''
      const decision = type === 'take'
        ? take(state, { talkId, userId: user, userKey: String(user) }, now, () => 0)
        : type === 'renew' ? renew(state, talkId, now) : type === 'release' ? release(state, talkId) : expire(state, now)
      state = decision.state ?? state
      const { holder } = state ?? {}
      if (type === 'take') {
        const isOther = before !== undefined && before.userKey !== String(user)
        const isBusy = isOther && now - before.lastAudioAt < busyMs && now - before.since < hardReleaseMs
        if (decision.result !== !isBusy) throw new Error(`user ${user} ${decision.result === true ? 'took' : 'did not take'} the floor`)
        if (decision.result === true) talkOf.set(user, talkId)
      }
      if (type === 'expire' && holder && now - holder.since >= hardReleaseMs) throw new Error('the floor is stuck')
      if (type === 'release' && holder?.talkId === talkId) throw new Error('the floor was not released')
      if (holder && before && holder.userKey !== before.userKey && type !== 'take') throw new Error('the floor changed hands without START')
    }
  }), { numRuns: 300 })
  t.pass()
})

t.test('a user who sends audio without a pause keeps the floor for 95 s', (t) => {
  const talkOf = (user: number) => ({ talkId: `${user}-1`, userId: user, userKey: String(user) })
  const { state } = take(undefined, talkOf(1), 0, () => 0)
  const takeAt = (now: number) => take(state, talkOf(2), now, () => now).result
  t.same([takeAt(1), takeAt(hardReleaseMs - 1), takeAt(hardReleaseMs)], [false, false, true])
  t.equal(take(state, talkOf(2), busyMs, () => 0).result, true, 'without audio, the floor is free after 3 s')
  t.end()
})

t.test('radios on two servers never talk at the same time', async (t) => {
  const env = { FEATURES: 'auth,push-to-talk', REDIS_URL: await redisDatabase() }
  const servers = [await build(t, { env: { ...env, NODE_ID: 'a' } }), await build(t, { env: { ...env, NODE_ID: 'b' } })]
  const played = await playFloor(t, servers.map(({ url }) => url), { steps: 120 })
  t.ok(played.talks > 5, `${played.talks} talks`)
})
