import t from 'tap'
import type { Test } from 'tap'
import { createCachedRights, createRights, freshMs, staleMs, unknownRoomMs } from '../../../features/laravel-bridge/rights.ts'
import { startBackend } from '../../support/backend.ts'
import { stopwatch } from '../../support/pace.ts'
import { until } from '../../support/retry.ts'
import { clientOf, valueOf } from './support.ts'

/** Creates the rights lookup with a clock that the test controls. */
async function setUp (t: Test) {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  backend.roles.set('7/43', 'admin').set('7/44', 'member')
  const clock = { ms: 1_000_000 }
  const now = () => clock.ms
  const cached = createCachedRights(now)
  const { client, metrics } = clientOf(t, backend, { breaker: { openMs: 50 } })
  return { backend, clock, metrics, rights: createRights({ client, metrics, cached, now }), cached, now }
}
const room = { roomId: '7' }

t.test('caches a response for 30 s', async (t) => {
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

t.test('a role lookup takes one call', async (t) => {
  const { backend, rights } = await setUp(t)
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(backend.calls(), 1)
  t.equal(await rights.roleOf(room, '45'), 'member', 'a user without a role is a member')
  t.equal(await rights.roleOf(room, '45'), 'member')
  t.same([backend.calls('role'), backend.calls('room')], [2, 1], 'a missing role is cached, too')
  backend.roles.set('7/46', 'owner')
  t.equal(await rights.roleOf(room, '46'), 'owner', 'the backend returns the role owner')
  t.equal(await rights.roleOf(room, '42'), 'owner')
  t.same([backend.calls('role'), backend.calls('room')], [3, 1], 'a cached owner needs no call')
})

t.test('an owner without a role in the backend is still the owner', async (t) => {
  const { backend, clock, rights } = await setUp(t)
  t.equal(await rights.roleOf(room, '42'), 'owner')
  t.equal(await rights.roleOf(room, '45'), 'member')
  t.same([backend.calls('role'), backend.calls('room')], [2, 1])
  backend.rooms.set('7', 45)
  clock.ms += freshMs + 1
  t.equal(await rights.roleOf(room, '45'), 'owner', 'the owner has changed while the room is open')
  t.equal(await rights.roleOf(room, '42'), 'member', 'a former owner is a member')
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

t.test('uses cached responses for five minutes while the backend is down', async (t) => {
  const { backend, clock, metrics, rights } = await setUp(t)
  const stale = (call: string) => valueOf(metrics, `flylive_laravel_stale_answers_total{call="${call}"}`)
  t.equal(await rights.ownerOf('7'), 42)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.ownerOf('8'), undefined)
  await backend.stop()
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await stale('role'), undefined, 'the cached role is still fresh')

  clock.ms += freshMs + 1
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.roleOf(room, '42'), 'owner', 'the role is not cached, but the owner is')
  t.equal(await rights.ownerOf('7'), 42)
  t.same([await stale('role'), await stale('room')], [1, 2])
  await t.rejects(rights.roleOf(room, '44'), { code: 'UNAVAILABLE', details: { retryable: true } }, 'does not default to "member"')
  await t.rejects(rights.ownerOf('8'), { code: 'UNAVAILABLE' }, 'a stale "no such room" is not used')
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

t.test('treats every failure of the backend as an outage', async (t) => {
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

t.test('does not wait long for a backend that does not respond if a cached response can be used', async (t) => {
  const { backend, clock, metrics, cached, now } = await setUp(t)
  const { client } = clientOf(t, backend)
  const rights = createRights({ client, metrics, cached, now, timeoutMs: 50 })
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.ownerOf('7'), 42)
  clock.ms += freshMs + 1
  const mend = backend.fault({ kind: 'hang' })
  const watch = stopwatch()
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.ownerOf('7'), 42)
  t.equal(await rights.roleOf(room, '42'), 'owner', 'the role is not cached, but the owner is')
  t.ok(watch() < 5000)
  t.same([backend.calls('role'), backend.calls('room')], [3, 2])
  mend()
  rights.invalidate('7', '43')
  t.equal(await rights.roleOf(room, '43'), 'admin', 'an invalidation ends the call that hangs')
  t.equal(await rights.ownerOf('7'), 42)
})

t.test('does not use an expired "no such room" if the backend is slow or fails', async (t) => {
  const { backend, clock, metrics, cached, now } = await setUp(t)
  const { client } = clientOf(t, backend)
  const rights = createRights({ client, metrics, cached, now, timeoutMs: 1 })
  t.equal(await rights.ownerOf('8'), undefined)
  backend.rooms.set('8', 1)
  clock.ms += unknownRoomMs + 1
  backend.fault({ kind: 'status', status: 500, times: 1 })
  await t.rejects(rights.ownerOf('8'), { code: 'UNAVAILABLE' })
  backend.fault({ kind: 'slow', ms: 50, times: 1 })
  t.equal(await rights.ownerOf('8'), 1)
})

t.test('repeats a lookup after an invalidation, even if the invalidation arrives during the lookup', async (t) => {
  const { backend, rights } = await setUp(t)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.roleOf(room, '44'), 'member')
  backend.roles.set('7/43', 'member')
  rights.invalidate('7', '43')
  t.equal(await rights.roleOf(room, '43'), 'member')
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(backend.calls('role'), 3)
  const roomCalls = backend.calls('room')
  rights.invalidateRole('7', '43')
  t.equal(await rights.roleOf(room, '43'), 'member')
  t.same([backend.calls('role'), backend.calls('room')], [4, roomCalls], 'the owner stays cached')
  rights.invalidate('7')
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(backend.calls('role'), 5)

  rights.invalidate('7', '43')
  backend.fault({ kind: 'slow', ms: 100, times: 1 })
  const asked = backend.nextCall('role')
  const role = rights.roleOf(room, '43')
  await asked
  rights.invalidate('7', '43')
  backend.roles.set('7/43', 'admin')
  t.equal(await role, 'admin')
  t.equal(backend.calls('role'), 7, 'the outdated response was discarded')
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(backend.calls('role'), 7)
})

t.test('keeps the cache across a reload', async (t) => {
  const { backend, clock, metrics, rights, cached, now } = await setUp(t)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(await rights.roleOf(room, '44'), 'member')
  t.equal(await rights.ownerOf('7'), 42)
  clock.ms += freshMs / 2
  await backend.stop()
  rights.invalidate('8')
  const { client } = clientOf(t, backend)
  const next = createRights({ client, metrics, cached, now })
  t.equal(await next.roleOf(room, '43'), 'admin')
  clock.ms += freshMs / 2 + staleMs - 1000
  t.equal(await next.roleOf(room, '44'), 'member', 'stale entries, too')
  t.equal(await next.ownerOf('7'), 42)
  clock.ms += 1001
  await t.rejects(next.roleOf(room, '44'), { code: 'UNAVAILABLE' }, 'entries keep their age')
  next.invalidate('7')
  await t.rejects(next.roleOf(room, '43'), { code: 'UNAVAILABLE' })
})

t.test('invalidates all roles of a room without a scan', async (t) => {
  const { backend, rights } = await setUp(t)
  backend.rooms.set('8', 42)
  const many = 5000
  for (let i = 0; i < many; i += 500) await Promise.all(Array.from({ length: 500 }, (_, j) => rights.roleOf({ roomId: '8' }, `user ${i + j}`)))
  t.equal(await rights.roleOf(room, '43'), 'admin')
  const asked = backend.calls('role')
  const begin = performance.now()
  for (let i = 0; i < 1000; i++) rights.invalidate('8')
  const invalidation = performance.now() - begin
  const again = performance.now()
  for (let i = 0; i < 1000; i++) rights.invalidate('8', 'unknown')
  t.comment(`1000 rooms: ${invalidation.toFixed(1)} ms; 1000 users: ${(performance.now() - again).toFixed(1)} ms`)
  t.equal(await rights.roleOf(room, '43'), 'admin')
  t.equal(backend.calls('role'), asked, 'roles of another room stay cached')
  await rights.roleOf({ roomId: '8' }, 'user 1')
  t.equal(backend.calls('role'), asked + 1)
})
