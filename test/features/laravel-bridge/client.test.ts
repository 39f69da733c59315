import t from 'tap'
import { z } from 'zod'
import type { Call } from '../../../features/laravel-bridge/client.ts'
import { anyResponse } from '../../../features/laravel-bridge/messages.ts'
import { backendKey, startBackend } from '../../support/backend.ts'
import type { Fault } from '../../support/backend.ts'
import { clientOf, valueOf } from './support.ts'
import { stopwatch } from '../../support/pace.ts'
import { unknownHost } from '../../support/unknown-host.ts'

const room: Call = { name: 'room', method: 'GET', path: ['rooms', '7'] }
const answer = z.object({ owner_id: z.int() })

t.test('returns the validated response, or undefined if the status is 404', async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42).set('a/b c', 43)
  const { client, metrics } = clientOf(t, backend)
  t.match(await client.call(room, answer), { owner_id: 42 })
  t.match(await client.call({ ...room, path: ['rooms', 'a/b c'] }, answer), { owner_id: 43 }, 'path segments are encoded')
  t.equal(await client.call({ ...room, path: ['rooms', '8'] }, answer), undefined)
  for (const step of ['.', '..']) t.equal(await client.call({ ...room, path: ['rooms', step] }, answer), undefined, 'a dot segment is not a valid id')
  t.equal(backend.calls(), 3, 'the call does not reach the backend')
  t.equal(await valueOf(metrics, 'flylive_laravel_api_calls_total{call="room",result="ok"}'), 2)
  t.equal(await valueOf(metrics, 'flylive_laravel_api_calls_total{call="room",result="not_found"}'), 1)
  t.equal(await valueOf(metrics, 'flylive_laravel_api_latency_seconds_count{call="room"}'), 3)
})

t.test('accepts an empty response to a status', async (t) => {
  const backend = await startBackend(t, { extra: () => ({ status: 204 }) })
  const { client } = clientOf(t, backend)
  t.not(await client.call({ name: 'status', method: 'POST', path: ['rooms', '7', 'status'], body: {} }, anyResponse), undefined, 'only 404 means that the room is unknown')
})

t.test('keeps the path of the base URL', async (t) => {
  const backend = await startBackend(t)
  const { client } = clientOf(t, backend, { url: `${backend.url}/base/` })
  t.equal(await client.call(room, answer), undefined)
  t.equal(backend.requests[0]?.path, '/base/api/v1/internal/rooms/7')
})

t.test('distinguishes unreachable from failing backends', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const cases: [string, Fault, string, string][] = [
    ['a server error', { kind: 'status', status: 500 }, 'BACKEND_FAILED', 'error'],
    ['a redirect', { kind: 'status', status: 302 }, 'BACKEND_FAILED', 'error'],
    ['a refusal', { kind: 'status', status: 422 }, 'BACKEND_FAILED', 'refused'],
    ['a broken connection', { kind: 'reset' }, 'BACKEND_FAILED', 'reset'],
    ['a connection that breaks after the call was executed', { kind: 'reset-after' }, 'BACKEND_FAILED', 'reset'],
    ['a malformed response', { kind: 'malformed' }, 'BACKEND_FAILED', 'malformed'],
    ['no response', { kind: 'hang' }, 'BACKEND_FAILED', 'timeout'],
    ['half a response', { kind: 'stall' }, 'BACKEND_FAILED', 'timeout'],
    ['a rate limit', { kind: 'status', status: 429 }, 'UNAVAILABLE', 'refused'],
    ['a bad gateway', { kind: 'status', status: 502 }, 'UNAVAILABLE', 'unreachable'],
    ['maintenance', { kind: 'status', status: 503 }, 'UNAVAILABLE', 'unreachable'],
    ['a gateway timeout', { kind: 'status', status: 504 }, 'UNAVAILABLE', 'unreachable']
  ]
  for (const [name, fault, code, result] of cases) {
    const { client, metrics } = clientOf(t, backend, { timeoutMs: 1000 })
    const mend = backend.fault(fault)
    await t.rejects(client.call(room, answer), { code }, name)
    t.equal(await valueOf(metrics, `flylive_laravel_api_calls_total{call="room",result="${result}"}`), 1, name)
    mend()
    t.match(await client.call(room, answer), { owner_id: 1 }, `${name}: the next call succeeds`)
  }
  const { client } = clientOf(t, backend)
  await backend.stop()
  await t.rejects(client.call(room, answer), { code: 'UNAVAILABLE', details: { retryable: true } }, 'no server on the port')
  const { client: lost } = clientOf(t, backend, { url: `http://${unknownHost}` })
  await t.rejects(lost.call(room, answer), { code: 'UNAVAILABLE' }, 'no such host')
  await backend.start()
  const { client: stranger } = clientOf(t, backend, { key: `not ${backendKey}` })
  await t.rejects(stranger.call(room, answer), { code: 'BACKEND_FAILED' }, 'a wrong key')
  await t.rejects(client.call(room, z.object({ owner: z.int() })), { code: 'BACKEND_FAILED' }, 'an invalid response')
})

t.test('the timeout covers the whole call', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  backend.fault({ kind: 'stall' })
  const { client } = clientOf(t, backend, { timeoutMs: 250 })
  const passed = stopwatch()
  await t.rejects(client.call(room, answer), { code: 'BACKEND_FAILED', message: /timeout/ })
  t.ok(passed() < 2000)
})

t.test('close() waits only briefly', async (t) => {
  const backend = await startBackend(t)
  backend.fault({ kind: 'hang' })
  const { client } = clientOf(t, backend)
  const call = t.rejects(client.call(room, answer), { code: 'BACKEND_FAILED' })
  await backend.nextCall()
  const passed = stopwatch()
  await client.close()
  t.ok(passed() < 4000)
  await call
})
