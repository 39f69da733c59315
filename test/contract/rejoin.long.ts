import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { tokenFor } from '../support/build.ts'
import { startServer } from '../support/process.ts'
import { redisDatabase } from '../support/redis.ts'

// The members of a killed server join again on another one, all at the same moment. The clients read
// everything, but parse only replies: 2,500 of them would cost more than the server.

const members = 2500
/** Connection attempts in flight at a time. */
const concurrency = 500

t.test('2,500 members of a killed server are back within 10 s', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats,chat' }
  const [first, second] = [startServer(t, env), startServer(t, env)]
  const [url, other] = [await first.url, await second.url]
  const tokens = Array.from({ length: members }, (_, i) => tokenFor(i + 1, { signature: 's'.repeat(1200) }))
  const sockets = new Set<WebSocket>()
  const closedAs: number[] = []
  t.teardown(() => { for (const ws of sockets) ws.terminate() })

  /** @returns the number of participants in the reply to the join */
  async function enter (address: string, token: string): Promise<number> {
    const ws = new WebSocket(`${address.replace('http', 'ws')}/ws`, ['msab.v1'], { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: false })
    ws.on('error', () => { /* It is closed next. */ })
    ws.once('close', (code) => {
      sockets.delete(ws)
      closedAs.push(code)
    })
    sockets.add(ws)
    await once(ws, 'open')
    ws.send('{"id":1,"type":"room:join","data":{"roomId":"r1"}}')
    const { promise, resolve } = Promise.withResolvers<number>()
    ws.on('message', (raw: Buffer) => {
      if (raw.subarray(0, 7).toString() !== '{"id":1') return
      resolve((JSON.parse(String(raw)) as { data?: { participantCount: number } }).data?.participantCount ?? 0)
    })
    return await promise
  }

  /** @returns the number of participants in the reply to the last join */
  async function enterAll (address: string): Promise<number> {
    let count = 0
    const left = [...tokens]
    await Promise.all(Array.from({ length: concurrency }, async () => {
      for (let token; (token = left.pop()) !== undefined;) count = Math.max(count, await enter(address, token))
    }))
    return count
  }

  await enterAll(url)
  first.child.kill('SIGKILL')
  await first.exit
  closedAs.length = 0
  const begin = performance.now()
  const count = await enterAll(other)
  const seconds = (performance.now() - begin) / 1000
  t.comment(`${members} members were back after ${seconds.toFixed(1)} s`)
  t.ok(seconds < 10)
  t.equal(count, members)
  t.equal(sockets.size, members)
  t.same(closedAs.filter((code) => code !== 1006), [], 'no client was closed by the server')
})
