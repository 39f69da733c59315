import t from 'tap'
import { build, shortTimings, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { buildMortal } from '../../support/mortal.ts'
import { redisDatabase } from '../../support/redis.ts'
import { clocksDifferMs } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'

// Tests which user owns a room after the only server is killed and restarted. The server restarts within or after the
// grace period of 2 s.

const graceMs = 2000
// The tests mostly wait, so they run in parallel.
t.jobs = 2

for (const kind of ['DATA_DIR', 'Redis'] as const) {
  t.test(`a restart with ${kind} keeps the owner, roles, lock, title and slow mode`, { buffered: true }, async (t) => {
    const store: Record<string, string> = kind === 'Redis' ? { REDIS_URL: await redisDatabase() } : {}
    const env = { ...store, OWNER_GRACE_SECONDS: String(graceMs / 1000), FEATURES: 'auth,seats,chat,moderation' }
    const enter = async (url: string, id: number, data: object = {}): Promise<[TestClient, Record<string, unknown>]> => {
      const client = await connect(t, url, { token: tokenFor(id) })
      return [client, await client.ok('room:join', { roomId: 'r1', ...data })]
    }
    const first = await buildMortal(t, { env, timings: shortTimings })
    const { url } = first
    const [owner] = await enter(url, 1, { title: 'First' })
    const [admin] = await enter(url, 2)
    const [guest] = await enter(url, 3)
    await owner.ok('room:setRole', { userId: 2, role: 'admin' })
    await admin.ok('room:update', { title: 'Second', topic: 'Topic' })
    await admin.ok('chat:slowMode', { seconds: 30 })
    await owner.ok('room:kick', { userId: 9, banSeconds: 600 })
    await admin.ok('room:lock')
    await guest.ok('room:leave')
    const left = first.kill()
    // Let the grace period pass while no server is running.
    const killedAt = Date.now()
    await until(async () => Date.now() - killedAt > graceMs)

    const second = await buildMortal(t, { env: left, timings: shortTimings })
    const again = second.url
    t.equal(await (await connect(t, again, { token: tokenFor(9) })).fails('room:join', { roomId: 'r1' }), 'BANNED')
    t.equal(await (await connect(t, again, { token: tokenFor(3) })).fails('room:join', { roomId: 'r1' }), 'ROOM_LOCKED', 'a user who had left cannot return')
    const before = Date.now()
    const [back, reply] = await enter(again, 2)
    t.match(reply, { ownerId: 1, title: 'Second', topic: 'Topic', isLocked: true, slowModeSeconds: 30, admins: [2], self: { role: 'admin' } })
    await back.ok('seat:take', { seatIndex: 0 })
    t.match(await back.event('room:owner'), { ownerId: 2, previousOwnerId: 1 })
    t.ok(Date.now() - before >= graceMs - clocksDifferMs, `after ${Date.now() - before} ms`)
    const [returned, late] = await enter(again, 1)
    t.match(late, { ownerId: 2, self: { role: 'member' }, admins: emptyArray }, 'the previous owner returns as a member')
    t.equal(await returned.fails('room:end'), 'FORBIDDEN')
    await back.ok('room:transfer', { userId: 1 })
    // Both stores restore a room in the same way, so run the rest of the test on only one store.
    if (kind === 'Redis') return

    const third = await build(t, { env: second.kill(), timings: shortTimings })
    const [seated] = await enter(third.url, 2)
    await seated.ok('seat:take', { seatIndex: 0 })
    const [, final] = await enter(third.url, 1)
    t.match(final, { ownerId: 1, self: { role: 'owner' } }, 'a transfer of the room is kept')
    t.match((await third.admin('GET', '/admin/rooms/r1')).body, { hostName: 'User 1', title: 'Second' })
    const begin = Date.now()
    await until(async () => {
      await seated.flush()
      return Date.now() - begin > graceMs + 500
    })
    t.equal(seated.events.some(({ type }) => type === 'room:owner'), false, 'an owner who returns before the end of the grace period stays the owner')
  })
}
