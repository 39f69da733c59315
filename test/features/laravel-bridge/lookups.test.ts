import t from 'tap'
import type { Test } from 'tap'
import { createKnownRights, createRights, freshMs, staleMs, unknownRoomMs } from '../../../features/laravel-bridge/rights.ts'
import { startBackend } from '../../support/backend.ts'
import { until } from '../../support/retry.ts'
import { clientOf, valueOf } from './support.ts'

/** Rights with a clock that a test sets. */
async function setUp (t: Test) {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  backend.roles.set('7/43', 'admin').set('7/44', 'member')
  const clock = { ms: 1_000_000 }
  const now = () => clock.ms
  const known = createKnownRights(now)
  const { client, metrics } = clientOf(t, backend, { breaker: { openMs: 50 } })
  return { backend, clock, metrics, rights: createRights({ client, metrics, known, now }), known, now }
}
const room = { roomId: '7', ownerId: 42 }

t.test('caches an answer for 30 s', async (t) => {
  const { backend, clock, rights } = await setUp(t)
  t.equal(await rights.ownerOf('7'), 42)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  clock.ms += freshMs
  t.equal(await rights.ownerOf('7'), 42)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.same([backend.calls('room'), backend.calls('role')], [1, 1])
  backend.rooms.set('7', 50)
  backend.roles.set('7/43', 'member')
  clock.ms += 1
  t.equal(await rights.ownerOf('7'), 50)
  t.equal(await rights.roleOf(room, '43'), 'member')
  t.same([backend.calls('room'), backend.calls('role')], [2, 2])
})

t.test('concurrent lookups share one call', async (t) => {
  const { backend, rights } = await setUp(t)
  backend.fault({ kind: 'slow', ms: 50 })
  t.same(new Set(await Promise.all(Array.from({ length: 200 }, () => rights.roleOf(room, '43')))), new Set(['admin']))
  t.same(new Set(await Promise.all(Array.from({ length: 200 }, () => rights.ownerOf('7')))), new Set([42]))
  t.equal(backend.calls(), 2)
})

t.test('a role lookup is one call', async (t) => {
  const { backend, rights } = await setUp(t)
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(backend.calls(), 1)
  t.equal(await rights.roleOf(room, '45'), 'member', 'who has no role')
  t.equal(await rights.roleOf(room, '45'), 'member')
  t.equal(backend.calls(), 2, 'that there is none is remembered, too')
  backend.roles.set('7/46', 'owner')
  t.equal(await rights.roleOf(room, '46'), 'owner', 'the backend names the owner as such')
  t.equal(backend.calls(), 3)
  await rights.ownerOf('7')
  t.equal(await rights.roleOf(room, '42'), 'owner')
  t.equal(backend.calls(), 4, 'no call for the owner, where it is known')
})

t.test('an owner who is not a member is the owner', async (t) => {
  const { backend, rights } = await setUp(t)
  t.equal(await rights.roleOf(room, '42'), 'owner')
  t.equal(await rights.roleOf({ roomId: '7', ownerId: 45 }, '45'), 'member', 'a former owner is none')
  t.same([backend.calls('role'), backend.calls('room')], [2, 1])
})

t.test('does not cache a missing room', async (t) => {
  const { backend, clock, rights } = await setUp(t)
  t.equal(await rights.ownerOf('8'), undefined)
  t.equal(await rights.ownerOf('8'), undefined)
  t.equal(backend.calls('room'), 1)
  backend.rooms.set('8', 1)
  clock.ms += unknownRoomMs + 1
  t.equal(await rights.ownerOf('8'), 1)
})

t.test('uses cached answers for five minutes while the backend is down', async (t) => {
  const { backend, clock, metrics, rights } = await setUp(t)
  const stale = (call: string) => valueOf(metrics, `flylive_laravel_stale_answers_total{call="${call}"}`)
  t.equal(await rights.ownerOf('7'), 42)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.ownerOf('8'), undefined)
  await backend.stop()
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await stale('role'), undefined, 'not old yet')

  clock.ms += freshMs + 1
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.roleOf(room, '42'), 'owner', 'nothing is known of the role, but of the owner')
  t.equal(await rights.ownerOf('7'), 42)
  t.same([await stale('role'), await stale('room')], [1, 2])
  await t.rejects(rights.roleOf(room, '44'), { code: 'UNAVAILABLE', details: { retryable: true } }, 'never a "member" that is a guess')
  await t.rejects(rights.ownerOf('8'), { code: 'UNAVAILABLE' }, 'that there was no room is no answer now')
  await t.rejects(rights.ownerOf('9'), { code: 'UNAVAILABLE' })

  clock.ms += staleMs - 2
  t.equal(await rights.roleOf(room, '43'), 'admin')
  clock.ms += 2
  await t.rejects(rights.roleOf(room, '43'), { code: 'UNAVAILABLE' })
  await t.rejects(rights.roleOf(room, '42'), { code: 'UNAVAILABLE' })

  await backend.start()
  backend.roles.set('7/43', 'member')
  t.equal(await until(() => rights.roleOf(room, '43')), 'member')
})

t.test('treats every failure of the backend as down', async (t) => {
  for (const fault of [{ kind: 'status', status: 500 }, { kind: 'malformed' }, { kind: 'reset' }] as const) {
    const { backend, clock, rights } = await setUp(t)
    t.equal(await rights.roleOf(room, '43'), 'admin')
    backend.fault(fault)
    clock.ms += freshMs + 1
    t.equal(await rights.roleOf(room, '43'), 'admin')
    await t.rejects(rights.roleOf(room, '44'), { code: 'UNAVAILABLE' })
    await t.rejects(rights.ownerOf('7'), { code: 'UNAVAILABLE' })
  }
})

t.test('a forgotten answer is looked up again, also during a lookup', async (t) => {
  const { backend, rights } = await setUp(t)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.roleOf(room, '44'), 'member')
  backend.roles.set('7/43', 'member')
  rights.forget('7', '43')
  t.equal(await rights.roleOf(room, '43'), 'member')
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(backend.calls('role'), 3)
  rights.forget('7')
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(backend.calls('role'), 4)

  rights.forget('7', '43')
  backend.fault({ kind: 'slow', ms: 100, times: 1 })
  const asked = backend.nextCall('role')
  const role = rights.roleOf(room, '43')
  await asked
  rights.forget('7', '43')
  backend.roles.set('7/43', 'admin')
  t.equal(await role, 'admin')
  t.equal(backend.calls('role'), 6, 'the first answer was not believed')
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(backend.calls('role'), 6)
})

t.test('keeps the cache over a reload', async (t) => {
  const { backend, clock, metrics, rights, known, now } = await setUp(t)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(await rights.ownerOf('7'), 42)
  clock.ms += freshMs / 2
  await backend.stop()
  rights.forget('8')
  const { client } = clientOf(t, backend)
  const next = createRights({ client, metrics, known, now })
  t.equal(await next.roleOf(room, '43'), 'admin')
  clock.ms += freshMs / 2 + staleMs - 1000
  t.equal(await next.roleOf(room, '44'), 'member', 'old answers, too')
  t.equal(await next.ownerOf('7'), 42)
  clock.ms += 1001
  await t.rejects(next.roleOf(room, '44'), { code: 'UNAVAILABLE' }, 'for as long as if nothing had happened')
  next.forget('7')
  await t.rejects(next.roleOf(room, '43'), { code: 'UNAVAILABLE' })
})

t.test('forgets all roles of a room without scanning', async (t) => {
  const { backend, rights } = await setUp(t)
  backend.rooms.set('8', 42)
  const many = 5000
  for (let i = 0; i < many; i += 500) await Promise.all(Array.from({ length: 500 }, (_, j) => rights.roleOf({ roomId: '8', ownerId: 42 }, `user ${i + j}`)))
  t.equal(await rights.roleOf(room, '43'), 'admin')
  const asked = backend.calls('role')
  const begin = performance.now()
  for (let i = 0; i < 1000; i++) rights.forget('8')
  const forgetting = performance.now() - begin
  const again = performance.now()
  for (let i = 0; i < 1000; i++) rights.forget('8', 'nobody')
  t.comment(`1000 rooms: ${forgetting.toFixed(1)} ms; 1000 users: ${(performance.now() - again).toFixed(1)} ms`)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(backend.calls('role'), asked, 'those of another room are known')
  await rights.roleOf({ roomId: '8', ownerId: 42 }, 'user 1')
  t.equal(backend.calls('role'), asked + 1)
})
