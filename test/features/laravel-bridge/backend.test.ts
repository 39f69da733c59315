import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { backendKey, startBackend } from '../../support/backend.ts'
import type { Backend } from '../../support/backend.ts'
import { emptyArray } from '../../support/empty-array.ts'
import { freePort, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const ask = async (backend: Backend, method: string, path: string, body?: unknown, key = backendKey) => {
  const response = await fetch(`${backend.url}/api/v1/internal/${path}`, {
    method,
    headers: { 'x-internal-key': key, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  })
  return { status: response.status, body: await response.json() as Record<string, unknown> }
}
const gift = (id: string, quantity = 1) => ({ transaction_id: id, room_id: '7', sender_id: 1, recipient_id: 2, gift_id: 3, quantity, timestamp: 1_700_000_000_000 })

t.test('the backend returns rooms and roles and checks the key', async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  backend.roles.set('7/43', 'admin')
  t.match(await ask(backend, 'GET', 'rooms/7'), { status: 200, body: { owner_id: 42 } })
  t.equal((await ask(backend, 'GET', 'rooms/8')).status, 404)
  t.match(await ask(backend, 'GET', 'rooms/7/members/43/role'), { status: 200, body: { role: 'admin' } })
  t.equal((await ask(backend, 'GET', 'rooms/7/members/44/role')).status, 404)
  t.equal((await ask(backend, 'GET', 'rooms/7', undefined, 'wrong')).status, 401)
  backend.everyRoom = (roomId) => Number(roomId) * 10
  t.match(await ask(backend, 'GET', 'rooms/8'), { body: { owner_id: 80 } })
  t.equal((await ask(backend, 'POST', 'rooms/7/status', { is_live: true, participant_count: 0, started_at: new Date().toISOString() })).status, 200)
  t.equal((await ask(backend, 'POST', 'rooms/7/status', { is_live: 'yes' })).status, 422)
  t.match(backend.statuses, [{ roomId: '7', at: Number, status: { is_live: true, participant_count: 0 } }])
  t.equal(backend.calls('room'), 4)
})

t.test('the backend charges a repeated gift once', async (t) => {
  const backend = await startBackend(t)
  backend.balances.set('1', 10)
  const send = (...transactions: unknown[]) => ask(backend, 'POST', 'gifts/batch', { transactions })
  t.match(await send(gift('a', 6), gift('b', 6)), { body: { processed_count: 1, failed: [{ transaction_id: 'b', code: 4002 }] } })
  t.match(await send(gift('a', 6)), { body: { processed_count: 1, failed: emptyArray } }, 'a duplicate counts as processed')
  t.match(backend.ledger.get('a'), { applied: 1, received: 2 })
  t.equal(backend.balances.get('1'), 4)
  backend.fault({ call: 'gifts', kind: 'reset-after', times: 1 })
  await t.rejects(send(gift('c')))
  t.match(backend.ledger.get('c'), { applied: 1 }, 'charged although no response was sent')
  backend.fault({ call: 'gifts', kind: 'reset', times: 1 })
  await t.rejects(send(gift('d')))
  t.notOk(backend.ledger.has('d'))
  backend.fault({ kind: 'reject', transactionIds: ['e'], code: 4100, reason: 'Gift retired', times: 1 })
  t.match(await send(gift('e'), gift('f')), { body: { processed_count: 1, failed: [{ transaction_id: 'e', code: 4100 }] } })
  t.equal((await send({ ...gift('g'), quantity: '1' })).status, 422)
})

t.test('the backend injects faults', async (t) => {
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const mend = backend.fault({ path: '/rooms/7', kind: 'status', status: 503 })
  backend.fault({ call: 'room', kind: 'malformed', times: 1 })
  t.equal((await ask(backend, 'GET', 'rooms/7')).status, 503)
  await t.rejects(ask(backend, 'GET', 'rooms/8'), SyntaxError)
  t.equal((await ask(backend, 'GET', 'rooms/8')).status, 200)
  mend()
  t.equal((await ask(backend, 'GET', 'rooms/7')).status, 200)
  backend.fault({ kind: 'hang' })
  const hung = ask(backend, 'GET', 'rooms/9')
  await backend.nextCall()
  await backend.stop()
  await t.rejects(hung)
  await t.rejects(ask(backend, 'GET', 'rooms/7'))
  await backend.start()
  backend.mend()
  t.equal((await ask(backend, 'GET', 'rooms/7')).status, 200)
})

t.test('the backend publishes events', async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url, channel: 'events' })
  t.equal(await backend.publish('balance.updated', { user_id: 1, payload: { coins: 5 } }), 0)
})

t.test('npm run backend works with curl', async (t) => {
  const redis = await startRedis(t)
  const port = await freePort()
  const child = spawn(process.execPath, [join(import.meta.dirname, '..', '..', '..', 'scripts', 'backend.ts')], {
    env: { PATH: process.env.PATH, PORT: String(port), REDIS_URL: redis.url },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const ended = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', (chunk) => { output += String(chunk) })
  await until(() => output.includes('npm start'))
  t.match(output, `LARAVEL_API_URL=http://127.0.0.1:${port} LARAVEL_INTERNAL_KEY=${backendKey}`)

  const url = `http://127.0.0.1:${port}`
  const control = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${url}/_control${path}`, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  }
  const room = async (id: number) => await fetch(`${url}/api/v1/internal/rooms/${id}`, { headers: { 'x-internal-key': backendKey } })
  t.match(await (await room(7)).json(), { owner_id: 1 })
  await control('POST', '/rooms', { id: 7, owner_id: 42 })
  await control('POST', '/rooms', { every: true, owner_id: null })
  t.match(await (await room(7)).json(), { owner_id: 42 })
  t.equal((await room(8)).status, 404)
  t.match(await control('POST', '/roles', { room_id: 7, user_id: 43, role: 'admin' }), { body: { roles: { '7/43': 'admin' } } })
  t.match(await control('POST', '/balances', { user_id: 43, amount: 5 }), { body: { balances: { 43: 5 } } })
  t.match(await control('POST', '/faults', { kind: 'status', status: 503 }), { body: { faults: [{ kind: 'status' }] } })
  t.equal((await room(7)).status, 503)
  t.match(await control('DELETE', '/faults'), { body: { faults: emptyArray, calls: { room: 4 } } })
  t.equal((await control('POST', '/publish', { event: 'config:invalidate' })).status, 200)
  t.match(await control('POST', '/faults', { kind: 'none' }), { status: 400, body: { message: /kind/ } })
  t.equal((await control('POST', '/nothing', {})).status, 404)
  child.kill('SIGTERM')
  t.same(await ended, [0, null])
})
