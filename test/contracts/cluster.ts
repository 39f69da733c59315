import type { Test } from 'tap'
import type { NodeLeases } from '../../plugins/cluster/leases.ts'
import type { Locks } from '../../plugins/cluster/locks.ts'
import { stopwatch } from '../support/pace.ts'
import { until } from '../support/retry.ts'

/** Runs the tests that every lock implementation must pass. */
export function locksContract (t: Test, make: (t: Test) => Promise<Locks>): void {
  t.test('only one of many callers holds a lock until it expires', async (t) => {
    const locks = await make(t)
    const results = await Promise.all(Array.from({ length: 20 }, () => locks.tryLock('turn', 400)))
    t.equal(results.filter(Boolean).length, 1)
    t.equal(await locks.tryLock('another', 400), true)
    const passed = stopwatch()
    await until(() => locks.tryLock('turn', 60_000))
    t.ok(passed() < 3000)
    t.equal(await locks.tryLock('turn', 400), false)
  })
}

/**
 * Runs the tests that every implementation of server leases must pass.
 *
 * @param make creates the `NodeLeases` object of the server `node-a`, which has not sent a heartbeat
 */
export function leasesContract (t: Test, make: (t: Test) => Promise<NodeLeases>): void {
  t.test('a server that sends heartbeats is alive', async (t) => {
    const leases = await make(t)
    await leases.heartbeat()
    t.equal(await leases.heartbeat(), true)
    t.same(await leases.areAlive(['node-x', 'node-a']), [false, true])
    t.same(await leases.areAlive([]), [])
    t.same(await leases.listDead(), [])
    await leases.remove('node-x')
    t.equal(await leases.msSinceLoss(), Infinity, 'no data was lost')
  })
}
