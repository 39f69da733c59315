import { join } from 'node:path'
import { createSigner } from 'fast-jwt'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createClock } from '../../plugins/clock.ts'
import { adminKey, build, jwtSecret, onBothStores, onStore } from '../support/build.ts'
import { connect } from '../support/client.ts'
import { startServer } from '../support/process.ts'
import { redisDatabase } from '../support/redis.ts'
import { until } from '../support/retry.ts'

const preload = { NODE_OPTIONS: `--import=${join(import.meta.dirname, '../support/wall-clock.ts')}` }
const sign = createSigner({ key: jwtSecret })
/** Signs a token with `iat` and `nbf` from a correct clock. A server with a slow clock must accept the token. */
function tokenOf (userId: number): string {
  const now = Math.floor(Date.now() / 1000)
  return sign({ id: userId, name: `User ${userId}`, nbf: now, exp: now + 86_400 })
}

/** Starts a server. The variables CLOCK_SHIFT_MS and CLOCK_STEP_MS in `env` can change the server's clock. */
async function start (t: Test, env: Record<string, string>) {
  const server = startServer(t, { FEATURES: 'auth,seats,chat,auto-close', ...preload, ...env })
  const url = await server.url
  return {
    ...server,
    url,
    connect: async (userId: number) => await connect(t, url, { token: tokenOf(userId) }),
    async admin (path: string, body?: object) {
      const response = await fetch(url + path, { method: body ? 'POST' : 'GET', headers: { authorization: `Bearer ${adminKey}`, ...(body ? { 'content-type': 'application/json' } : {}) }, ...(body ? { body: JSON.stringify(body) } : {}) })
      return { status: response.status, body: await response.text() }
    }
  }
}

t.test('the clock catches up with a faster clock, and never runs backwards', async (t) => {
  const clock = createClock()
  const hour = 3_600_000
  clock.syncTo(5 * hour)
  const first = clock.now()
  t.ok(first >= 5 * hour && first < 5 * hour + 1000, 'the first comparison is exact')
  clock.syncTo(6 * hour)
  t.ok(clock.now() >= 6 * hour)
  clock.syncTo(2 * hour)
  const latest = clock.now()
  t.ok(latest >= 6 * hour && clock.now() >= latest)
  t.equal(Number.isInteger(latest), true)
})

t.test('corrects the clock only by the part of the difference that exceeds the inaccuracy of the comparison', async (t) => {
  const clock = createClock()
  const hour = 3_600_000
  clock.syncTo(5 * hour)
  const first = clock.now()
  clock.syncTo(5 * hour + 60_000, 120_000)
  t.ok(clock.now() < first + 1000, 'the difference is within the inaccuracy')
  clock.syncTo(5 * hour + 180_000, 120_000)
  const adjusted = clock.now()
  t.ok(adjusted >= 5 * hour + 60_000 && adjusted < 5 * hour + 61_000)
})

t.test('before its first use, the clock follows the most accurate comparison', async (t) => {
  const hour = 3_600_000
  const inaccurate = [5 * hour - 120_000, 180_000] as const
  const accurate = [5 * hour, 1000] as const
  for (const comparisons of [[inaccurate, accurate], [accurate, inaccurate]]) {
    const clock = createClock()
    for (const [now, accuracyMs] of comparisons) clock.syncTo(now, accuracyMs)
    const difference = clock.now() - 5 * hour
    t.ok(Math.abs(difference) < 60_000, `differs by ${difference} ms`)
  }
})

t.test('servers whose clocks differ agree on deadlines, and report the difference', async (t) => {
  const REDIS_URL = await redisDatabase()
  const redis = new Redis(REDIS_URL)
  t.teardown(() => redis.disconnect())
  const redisNow = async () => Number((await redis.time())[0]) * 1000
  const lines: Record<string, unknown>[] = []
  const right = await build(t, { env: { REDIS_URL, FEATURES: 'auth,seats' }, log: (line) => lines.push(line) })
  const late = await start(t, { REDIS_URL, CLOCK_SHIFT_MS: '-90000', ...stepEnv(-3_600_000) })
  const isNear = (at: unknown, expected: number) => Math.abs(Number(at) - expected) < 15_000

  const [ada, bob] = [await late.connect(1), await right.connect(2)]
  t.ok(isNear(ada.greeting.serverTime, await redisNow()), 'serverTime')
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('seat:invite', { userId: 2, seatIndex: 3 })
  const invite = await bob.event('seat:invite:received')
  t.ok(isNear(invite.expiresAt, await redisNow() + 30_000), 'an invite from the server whose clock is slow lasts 30 s')
  await bob.ok('seat:invite:accept')
  t.match(await ada.event('seat:updated'), { seatIndex: 3 }, 'the other server accepts it')
  await late.admin('/admin/rooms/r1/kick', { userId: 3, banSeconds: 60 })
  const carl = await right.connect(3)
  const { error } = await carl.request('room:join', { roomId: 'r1' })
  t.match(error, { code: 'BANNED' })
  t.ok(isNear((error?.details as { until: number }).until, await redisNow() + 60_000), 'a ban lasts 60 s')

  const health = await fetch(`${late.url}/health`, { headers: { authorization: `Bearer ${adminKey}` } }).then(async (response) => await response.json()) as { clock: { skewMs: number } }
  t.ok(isNear(health.clock.skewMs, -90_000))
  await until(async () => /flylive_clock_skew_seconds -(89|90)/.test(await (await fetch(`${late.url}/metrics`)).text()))
  await until(() => late.output().includes("this machine's clock differs from the Redis clock"))
  t.notMatch(JSON.stringify(lines), /clock differs/)

  await t.test('deadlines hold when the slow clock is set back by 1 h', async (t) => deadlinesHold(t, late))
})

/** @param step clock change per SIGWINCH, in milliseconds */
function stepEnv (step: number) {
  return { CLOCK_STEP_MS: String(step), SEAT_GRACE_SECONDS: '1', EMPTY_ROOM_SECONDS: '1', RATE_LIMIT_MESSAGES_PER_MINUTE: '2' }
}

/** Changes a server's clock while deadlines are pending, and checks that the deadlines still expire in time. */
async function deadlinesHold (t: Test, server: Awaited<ReturnType<typeof start>>): Promise<void> {
  const [ada, bob, carl] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'steps' })
  await carl.ok('room:join', { roomId: 'empty' })
  await bob.ok('seat:take', { seatIndex: 1 })
  for (let i = 0; i < 2; i++) await ada.ok('chat:message', { content: 'hello' })
  await server.admin('/admin/rooms/steps/kick', { userId: 4, banSeconds: 1 })
  bob.ws.terminate()
  await carl.ok('room:leave')
  server.child.kill('SIGWINCH')

  t.match(await ada.event('seat:cleared'), { userId: 2 })
  await until(async () => (await server.admin('/admin/rooms/empty')).status === 404)
  const dan = await server.connect(4)
  await until(async () => (await dan.request('room:join', { roomId: 'steps' })).error === undefined)
  const { error } = await ada.request('chat:message', { content: 'too many' })
  t.ok(((error?.details as { retryAfterMs?: number } | undefined)?.retryAfterMs ?? 0) <= 60_000)
  await ada.ok('seat:take', { seatIndex: 0 })
  t.equal((await fetch(`${server.url}/readyz`)).status, 200)
  await until(() => /clock (was changed|differs)/.test(server.output()))
}

/** If ALL_STEPS is set (clock.long.ts), the test makes all clock changes on both stores. */
const steps = process.env.ALL_STEPS === undefined ? [7_200_000] : [-3_600_000, 7_200_000]
for (const step of steps) {
  const onStores = process.env.ALL_STEPS === undefined ? onStore('memory') : onBothStores
  onStores(t, `deadlines hold when the machine's clock is changed by ${step / 3_600_000} h`, async (t, env) => deadlinesHold(t, await start(t, { ...env, ...stepEnv(step) })))
}
