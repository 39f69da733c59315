import t from 'tap'
import type { Relay } from '../../../features/laravel-bridge/relay.ts'
import { createRelay, createRelayHistory } from '../../../features/laravel-bridge/relay.ts'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

t.test('delivers each event once and in order during a reload', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const server = await build(t, { env: backend.env })
  const { log, metrics, rooms, sockets } = server.app
  const ada = await server.connect(1)
  const history = createRelayHistory()
  const generation = () => createRelay({
    log,
    metrics,
    rooms,
    sockets,
    names: ['level.up'],
    rights: { invalidate () {}, invalidateRole () {} },
    removals: { kick () {}, async block () {} },
    history
  })
  const old = generation()
  const oldClosed = history.closed
  const next = generation()
  t.teardown(() => next.close())
  const publish = (from: number, to: number, listeners: readonly Relay[]) => {
    for (let n = from; n < to; n++) {
      const text = JSON.stringify({ event: 'level.up', user_id: 1, room_id: null, payload: n, ...(n % 2 ? { correlation_id: `c${n}` } : {}) })
      for (const relay of listeners) relay.receive(text)
    }
  }
  publish(0, 300, [old])
  publish(300, 600, [old, next])
  await new Promise((resolve) => setImmediate(resolve))
  publish(600, 800, [next, old])
  old.close()
  await oldClosed
  publish(800, 1000, [next, old])
  const levels = () => ada.events.filter(({ type }) => type === 'level.up').map(({ data }) => data as unknown as number)
  await until(() => levels().includes(999))
  t.equal(levels().length, 1000)
  const inOrder = (list: readonly number[]) => list.every((n, i) => i === 0 || n > (list[i - 1] as number))
  t.ok(inOrder(levels()), 'the events are in order')
})
