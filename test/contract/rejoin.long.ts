import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { tokenFor } from '../support/build.ts'
import { startServer } from '../support/process.ts'
import { redisDatabase } from '../support/redis.ts'

// All members of a killed server rejoin on another server at the same moment. To save CPU time, the clients parse only
// replies.

const members = 2500

t.test('2,500 members of a killed server rejoin within 10 s', async (t) => {
  const env = { REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats,chat' }
  const [first, second] = [startServer(t, env), startServer(t, env)]
  const [url, other] = [await first.url, await second.url]
  const tokens = Array.from({ length: members }, (_, i) => tokenFor(i + 1, { signature: 's'.repeat(1200) }))
  const sockets = new Set<WebSocket>()
  const closedAs: number[] = []
  t.teardown(() => { for (const ws of sockets) ws.terminate() })

  /** @returns the number of participants in the join reply */
  async function enter (address: string, token: string): Promise<number> {
    const ws = new WebSocket(`${address.replace('http', 'ws')}/ws`, ['msab.v1'], { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: false })
    ws.on('error', () => { /* `close` is emitted next. */ })
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

  /** @returns the highest number of participants that a join reply contains */
  async function enterAll (address: string): Promise<number> {
    return Math.max(...await Promise.all(tokens.map((token) => enter(address, token))))
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
