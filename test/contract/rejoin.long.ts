import t from 'tap'
import { tokenFor } from '../support/build.ts'
import { connect } from '../support/client.ts'
import type { TestClient } from '../support/client.ts'
import { startServer } from '../support/process.ts'
import { redisDatabase } from '../support/redis.ts'

// The members of a killed server join again on another one, all at the same moment.

const members = 2500
/** Connection attempts in flight at a time, as the network allows them. */
const concurrency = 500

t.test('2,500 members of a killed server are back within 10 s', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats,chat', LOG_LEVEL: 'warn' }
  const [first, second] = [startServer(t, { ...env, LOG_LEVEL: 'info' }), startServer(t, { ...env, LOG_LEVEL: 'info' })]
  const [url, other] = [await first.url, await second.url]
  const tokens = Array.from({ length: members }, (_, i) => tokenFor(i + 1, { signature: 's'.repeat(1200) }))
  const closedAs: number[] = []

  async function enterAll (address: string): Promise<TestClient[]> {
    const clients: TestClient[] = []
    const left = [...tokens]
    await Promise.all(Array.from({ length: concurrency }, async () => {
      for (let token; (token = left.pop()) !== undefined;) {
        const client = await connect(t, address, { token })
        client.closed.then(({ code }) => closedAs.push(code), () => {})
        await client.ok('room:join', { roomId: 'r1' })
        clients.push(client)
      }
    }))
    return clients
  }

  await enterAll(url)
  closedAs.length = 0
  first.child.kill('SIGKILL')
  await first.exit
  const begin = performance.now()
  const clients = await enterAll(other)
  const seconds = (performance.now() - begin) / 1000
  t.comment(`${members} members were back after ${seconds.toFixed(1)} s`)
  t.ok(seconds < 10)
  const { participantCount } = await clients[0]?.ok('room:participants', { limit: 1 }) as { participantCount: number }
  t.equal(participantCount, members)
  t.same(closedAs.filter((code) => code !== 1006), [], 'no client was closed by the server')
})
