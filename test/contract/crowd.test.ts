import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { build, onEveryStore, tokenFor } from '../support/build.ts'
import { collectGarbage } from '../support/garbage.ts'
import { until } from '../support/retry.ts'

/** Number of clients. This number is high enough to detect growing memory use; crowd.long.ts uses more clients. */
const crowd = Number(process.env.CROWD ?? 50)

/** A client that parses only the sequence number of each `tick`. */
interface Counter {
  ws: WebSocket
  seen: number
  outOfOrder: number
}

onEveryStore(t, `${crowd} clients in one room`, async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', ...env } })
  const counters: Counter[] = []

  async function join (id: number): Promise<Counter> {
    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/ws`, ['msab.v1'], { headers: { authorization: `Bearer ${tokenFor(id)}` } })
    t.teardown(() => ws.terminate())
    const counter: Counter = { ws, seen: 0, outOfOrder: 0 }
    ws.on('message', (raw: Buffer) => {
      const tick = /^{"type":"tick","data":{"roomId":"big","tick":(\d+)/.exec(raw.subarray(0, 80).toString())?.[1]
      if (tick === undefined) return
      if (Number(tick) !== counter.seen + 1) counter.outOfOrder++
      counter.seen = Number(tick)
    })
    await once(ws, 'open')
    ws.send(JSON.stringify({ id: 'join', type: 'room:join', data: { roomId: 'big' } }))
    await new Promise<void>((resolve) => {
      const look = (raw: Buffer) => {
        if (!raw.subarray(0, 40).toString().includes('"id":"join"')) return
        ws.off('message', look)
        resolve()
      }
      ws.on('message', look)
    })
    counters.push(counter)
    return counter
  }

  let last = 0
  const emit = (pad: string) => server.app.rooms.emit('big', 'tick', { tick: ++last, pad })
  const allHave = (some: Counter[], tick: number) => until(() => some.every((counter) => counter.seen === tick), 60_000)

  for (let id = 0; id < crowd; id += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => join(id + i)))
  t.match(await server.admin('GET', '/admin/rooms/big'), { body: { participantCount: crowd } })

  await t.test('everyone receives every event in the same order, and the memory does not grow', async (t) => {
    const round = async () => {
      for (let i = 0; i < 100; i++) emit('x'.repeat(200))
      await allHave(counters, last)
      collectGarbage()
      return process.memoryUsage().heapUsed
    }
    await round()
    const before = await round()
    let after = before
    for (let i = 0; i < 5; i++) after = await round()
    t.equal(counters.reduce((sum, counter) => sum + counter.outOfOrder, 0), 0)
    t.comment(`heap after ${last} events to ${crowd} clients: ${((after - before) / 1024).toFixed(0)} KiB more than after 200`)
    // This limit detects a leak of 20 bytes per delivery.
    t.ok(after - before < Math.max(2 * 1024 * 1024, 500 * crowd * 20))
  })

  await t.test('closes a client that never reads, without delaying others', async (t) => {
    const deaf = await join(crowd)
    deaf.ws.pause()
    const others = counters.filter((counter) => counter !== deaf)
    const pad = 'x'.repeat(60_000)
    const sessions = server.app.sockets.size
    const begin = last
    // First the operating system's buffers fill up, and then the socket's send queue.
    for (;;) {
      emit(pad)
      // A closing session stays registered until the client confirms the close or a timeout expires, so check `open`.
      if (![...server.app.sockets.ofUser(String(crowd))].some((session) => session.open)) break
      if (last - begin > 1000) return t.fail('the connection was never closed')
      await allHave(others, last)
    }
    t.comment(`closed after ${last - begin} events of 60 kB`)
    deaf.ws.resume()
    const [code, reason] = await once(deaf.ws, 'close') as [number, Buffer]
    t.equal(code, 4410)
    t.equal(reason.toString(), 'TOO_SLOW')
    emit(pad)
    await allHave(others, last)
    t.equal(others.reduce((sum, counter) => sum + counter.outOfOrder, 0), 0)
    await until(() => server.app.sockets.size === sessions - 1)
  })
})
