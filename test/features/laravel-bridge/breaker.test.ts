import t from 'tap'
import { z } from 'zod'
import type { Call } from '../../../features/laravel-bridge/client.ts'
import { startBackend } from '../../support/backend.ts'
import { until } from '../../support/retry.ts'
import { clientOf, valueOf } from './support.ts'

const room: Call = { name: 'room', method: 'GET', path: ['rooms', '7'] }
const gifts: Call = { name: 'gifts', method: 'POST', path: ['gifts', 'batch'], body: {} }
const any = z.unknown()
const stateOf = (call: string) => `flylive_laravel_breaker_state{call="${call}"}`
const attempt = (call: Promise<unknown>) => call.then(() => 'OK', (error: { code: string }) => error.code)

t.test('opens while the backend is down and probes the backend', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const openMs = 300
  const { client, metrics } = clientOf(t, backend, { breaker: { openMs } })
  // A long healthy period must not delay the opening of the breaker.
  for (let i = 0; i < 200; i++) await client.call(room, any)

  const mend = backend.fault({ kind: 'status', status: 503 })
  const before = backend.calls()
  const started = performance.now()
  let attempts = 0
  // Wait until the breaker has sent three probes. The probes take longer if the machine pauses.
  const reached = () => backend.calls() - before
  for (; reached() < 8 && performance.now() - started < 30_000; attempts++) {
    if (await attempt(client.call(room, any)) !== 'UNAVAILABLE') t.fail('a call was not rejected with UNAVAILABLE')
    await new Promise((resolve) => setImmediate(resolve))
  }
  const elapsedMs = performance.now() - started
  t.equal(reached(), 8, 'five calls, and one per probe')
  t.ok(elapsedMs >= 3 * openMs, `${attempts} attempts in ${elapsedMs} ms`)
  t.ok(attempts > 50)
  t.ok((await valueOf(metrics, 'flylive_laravel_api_calls_total{call="room",result="turned_away"}') ?? 0) >= attempts - reached())
  t.not(await valueOf(metrics, stateOf('room')), 0)

  mend()
  await until(async () => await attempt(client.call(room, any)) === 'OK')
  t.equal(await valueOf(metrics, stateOf('room')), 0)
  t.equal(await attempt(client.call(room, any)), 'OK')
})

t.test('while one call probes the backend, other calls do not wait', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const { client, metrics } = clientOf(t, backend, { breaker: { openMs: 100 } })
  backend.fault({ kind: 'status', status: 500, times: 5 })
  for (let i = 0; i < 5; i++) t.equal(await attempt(client.call(room, any)), 'BACKEND_FAILED')
  t.equal(await valueOf(metrics, stateOf('room')), 2)
  await until(async () => await valueOf(metrics, stateOf('room')) === 1)
  const before = backend.calls()
  backend.fault({ kind: 'slow', ms: 200, times: 1 })
  const results = await Promise.all(Array.from({ length: 10 }, () => attempt(client.call(room, any))))
  t.same(results.sort(), ['OK', ...Array.from({ length: 9 }, () => 'UNAVAILABLE')])
  t.equal(backend.calls() - before, 1)
})

t.test('a closed client reports no open circuit breaker', async (t) => {
  const backend = await startBackend(t)
  const { client, metrics } = clientOf(t, backend)
  backend.fault({ kind: 'status', status: 500, times: 5 })
  for (let i = 0; i < 5; i++) t.equal(await attempt(client.call(room, any)), 'BACKEND_FAILED')
  t.equal(await valueOf(metrics, stateOf('room')), 2)
  await client.close()
  t.equal(await valueOf(metrics, stateOf('room')), 0)
})

t.test('regular responses do not open the breaker', async (t) => {
  const backend = await startBackend(t)
  const { client, metrics } = clientOf(t, backend)
  for (let i = 0; i < 30; i++) t.equal(await attempt(client.call(room, any)), 'OK', '404')
  backend.fault({ kind: 'status', status: 403 })
  for (let i = 0; i < 30; i++) t.equal(await attempt(client.call(room, any)), 'BACKEND_FAILED')
  t.equal(await valueOf(metrics, stateOf('room')), 0)
})

t.test('failing gift calls do not open the breaker for room calls', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const { client, metrics } = clientOf(t, backend)
  backend.fault({ call: 'gifts', kind: 'status', status: 500 })
  for (let i = 0; i < 10; i++) await attempt(client.call(gifts, any))
  t.equal(await attempt(client.call(gifts, any)), 'UNAVAILABLE')
  t.equal(await attempt(client.call(room, any)), 'OK')
  t.same([await valueOf(metrics, stateOf('gifts')), await valueOf(metrics, stateOf('room'))], [2, 0])
})

t.test('many concurrent lookups do not open the breaker', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  backend.fault({ kind: 'slow', ms: 100, call: 'role' })
  const { client, metrics } = clientOf(t, backend, { timeoutMs: 1000 })
  const role = (user: number): Call => ({ name: 'role', method: 'GET', path: ['rooms', '7', 'members', String(user), 'role'] })
  const results = await Promise.all(Array.from({ length: 600 }, (_, user) => attempt(client.call(role(user), any))))
  const good = results.filter((result) => result === 'OK').length
  t.comment(`${good} of ${results.length} were answered in time`)
  t.ok(good >= 32)
  t.same(new Set(results), new Set(['OK', 'UNAVAILABLE']))
  t.equal(await valueOf(metrics, 'flylive_laravel_api_calls_total{call="role",result="timeout"}'), undefined)
  t.equal(await valueOf(metrics, stateOf('role')), 0)
  t.equal(await attempt(client.call(role(1), any)), 'OK')
})
