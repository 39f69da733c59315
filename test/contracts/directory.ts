import type { Test } from 'tap'
import type { SessionDirectory } from '../../plugins/directory/directory.ts'

/**
 * Runs the tests that every session directory must pass.
 *
 * @param make creates an empty session directory that treats the server `node-a` as alive and is closed after the test
 */
export function directoryContract (t: Test, make: (t: Test) => Promise<SessionDirectory>): void {
  t.test('finds all sessions of a user', async (t) => {
    const directory = await make(t)
    const session = (sessionId: string, roomId: string | null) => ({ sessionId, nodeId: 'node-a', roomId, connectedAt: 1000 })
    const sorted = async (user: string) => (await directory.sessionsOf(user)).sort((a, b) => a.sessionId.localeCompare(b.sessionId))
    t.same(await directory.sessionsOf('1'), [])
    await directory.put('1', session('s1', null))
    await directory.put('1', session('s2', 'r2'))
    await directory.put('1', session('s1', 'r1'))
    await directory.put('2', session('s3', 'r1'))
    t.same(await sorted('1'), [session('s1', 'r1'), session('s2', 'r2')])
    await directory.remove('1', 's1')
    await directory.remove('1', 's1')
    await directory.remove('1', 's3')
    await directory.remove('9', 's3')
    t.same(await sorted('1'), [session('s2', 'r2')])
    t.same(await sorted('2'), [session('s3', 'r1')])
    await directory.remove('1', 's2')
    t.same(await sorted('1'), [])
  })
}
