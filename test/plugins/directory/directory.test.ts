import t from 'tap'
import { createRedisLeases } from '../../../plugins/cluster/leases.redis.ts'
import { createMemoryDirectory } from '../../../plugins/directory/memory.ts'
import { createRedisDirectory } from '../../../plugins/directory/redis.ts'
import { directoryContract } from '../../contracts/directory.ts'
import { databaseClient } from '../../support/redis.ts'

t.test('memory', async (t) => directoryContract(t, async () => createMemoryDirectory()))

t.test('redis', async (t) => directoryContract(t, async (t) => {
  const client = await databaseClient(t)
  const leases = createRedisLeases(client, 'node-a')
  await leases.heartbeat()
  return createRedisDirectory(client, leases)
}))

t.test('omits the sessions of a dead server', async (t) => {
  const client = await databaseClient(t)
  const [a, b] = [createRedisLeases(client, 'node-a'), createRedisLeases(client, 'node-b')]
  for (const leases of [a, b]) await leases.heartbeat()
  const directory = createRedisDirectory(client, b)
  await directory.put('1', { sessionId: 'phone', nodeId: 'node-b', roomId: 'r1', connectedAt: 1 })
  await directory.put('1', { sessionId: 's-1', nodeId: 'node-a', roomId: 'r1', connectedAt: 1 })
  t.equal((await directory.sessionsOf('1')).length, 2)
  await client.del('msab:node:{node-a}')
  t.same((await directory.sessionsOf('1')).map(({ sessionId }) => sessionId), ['phone'])
  client.disconnect()
  await t.rejects(directory.sessionsOf('1'), { code: 'UNAVAILABLE' })
  await t.rejects(directory.remove('1', 's-1'), { code: 'UNAVAILABLE' })
})
