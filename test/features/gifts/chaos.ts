import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { v7 } from 'uuid'
import { startBackend } from '../../support/backend.ts'
import type { Backend, Fault } from '../../support/backend.ts'
import { adminKey, shortTimings, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'
import { buildMortal } from '../../support/mortal.ts'
import { startServer, untilResponding } from '../../support/process.ts'
import type { ServerProcess } from '../../support/process.ts'
import { freePort } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Many senders send gifts while servers and Redis are killed and the backend fails in various ways. A sender that
// receives no reply retries with the same key. In the end, no acknowledged gift must be lost or charged twice.

export interface ChaosOptions {
  gifts: number
  /** Number of servers on one Redis; 0 for a single server without Redis. */
  servers: number
  /** Number of times a server is killed. */
  kills: number
  senders: number
  /** True if the servers run in this process and kills are only simulated. */
  inProcess?: boolean
}

/** Attempts per sender. The server allows 30 attempts per user per minute, including failed attempts. */
const triesPerSender = 28
const atOnce = 4
const rooms = 50
/** Probability that a sender sends an acknowledged gift again with the same key. */
const doubted = 0.1
const pick = <T>(items: readonly T[]) => items[Math.floor(Math.random() * items.length)] as T

const faults: readonly Omit<Fault, 'call'>[] = [
  { kind: 'status', status: 500 },
  { kind: 'status', status: 503 },
  { kind: 'hang' },
  { kind: 'slow', ms: 700 },
  { kind: 'reset' },
  { kind: 'reset-after' },
  { kind: 'malformed' }
]

export async function chaos (t: Test, { gifts, servers, kills, senders, inProcess = false }: ChaosOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-chaos-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const redis = servers === 0 ? undefined : await startDurableRedis(t, join(folder, 'redis'))
  const nodes = await Promise.all(Array.from({ length: Math.max(servers, 1) }, (_, i) => {
    const env = { ...nodeEnv, ...backend.env, ...(redis ? { REDIS_URL: redis.url } : {}) }
    return inProcess ? startMortalNode(t, env) : startNode(t, folder, i, env)
  }))

  const attempts = new Map<number, Attempt>()
  const outcomes: Record<string, number> = {}
  const toldOfErrors = new Set<string>()
  const begin = performance.now()
  const open: TestClient[] = []
  let acknowledged = 0
  let nextSender = 1
  let nextGift = 1

  /** Sends gifts as one user, through a random server, until the user has no attempts left. */
  async function send (sender: number): Promise<void> {
    // Every tenth sender has coins for only half of their gifts, so that the backend rejects parts of batches.
    if (sender % 10 === 0) backend.balances.set(String(sender), triesPerSender / 2)
    let client: TestClient | undefined
    const again: number[] = []
    for (let tries = 0; tries < triesPerSender && acknowledged < gifts; tries += atOnce) {
      client = client?.ws.readyState === 1 ? client : await enter(sender)
      await Promise.all(Array.from({ length: Math.min(atOnce, triesPerSender - tries) }, async () => {
        const giftId = again.shift() ?? nextGift++
        if (!await sendOne(sender, giftId, client as TestClient) || Math.random() < doubted) again.push(giftId)
      }))
    }
    // Keep senders connected for a while, so that they receive errors about their gifts.
    if (client && open.push(client) > 100) open.shift()?.ws.terminate()
  }

  async function enter (sender: number): Promise<TestClient> {
    return await until(async () => {
      const client = await connect(t, await pick(nodes).url(), { token: tokenFor(sender) })
      client.ws.on('message', (raw) => {
        const { type, data } = JSON.parse(String(raw)) as { type?: string, data: { transactionId: string } }
        if (type === 'gift:error') toldOfErrors.add(data.transactionId)
      })
      await client.ok('room:join', { roomId: String(1 + sender % rooms) })
      return client
    }, 60_000)
  }

  /**
   * Makes one attempt to send a gift.
   *
   * @returns whether the gift was acknowledged
   */
  async function sendOne (sender: number, giftId: number, client: TestClient): Promise<boolean> {
    const attempt = attempts.get(giftId) ?? { sender, key: v7() }
    const again = attempts.has(giftId) ? 'again: ' : ''
    attempts.set(giftId, attempt)
    const code = await client.request('gift:send', { giftId, recipientId: 'somebody', key: attempt.key }).then(({ ok, data, error }) => {
      if (!ok) return error.code
      const transactionId = String(data.transactionId)
      if ((attempt.transactionId ??= transactionId) !== transactionId) t.fail(`gift ${giftId} received two ids`)
      else if (again === '') acknowledged++
      return 'ok'
    }, () => 'connection lost')
    outcomes[again + code] = (outcomes[again + code] ?? 0) + 1
    return code === 'ok'
  }

  const reached = (share: number) => acknowledged >= gifts * share
  const progress = (share: number) => until(() => reached(share), 3_600_000)
  const sending = Promise.all(Array.from({ length: senders }, async () => {
    do await send(nextSender++)
    while (!reached(1))
  }))
  const killing = (async () => {
    for (let i = 1; i <= kills; i++) {
      await progress((i - Math.random()) / kills)
      await pick(nodes).killAndStart()
    }
  })()
  const killingRedis = (async () => {
    if (!redis) return
    await progress(0.4 + Math.random() * 0.2)
    await redis.killAndStart()
  })()
  let done = false
  const breaking = breakBackend(backend, () => done)

  await Promise.all([sending, killing, killingRedis])
  done = true
  const broken = await breaking
  t.comment(`${acknowledged} acknowledged in ${Math.round((performance.now() - begin) / 1000)} s; replies ${JSON.stringify(outcomes)}; servers killed ${kills} times; backend ${JSON.stringify(broken)}`)

  // After the faults, wait until the queue is empty, then check the state of each gift.
  const admin = async (path: string, method = 'GET') => {
    const response = await fetch(`${await (nodes[0] as Node).url()}/admin/gifts${path}`, { method, headers: { authorization: `Bearer ${adminKey}` } })
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return await response.json() as Record<string, unknown>
  }
  const list = async (path: string, name: string) => {
    const found: Found[] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Record<string, unknown> = await admin(`/${path}?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`)
      found.push(...page[name] as Found[])
      cursor = page.nextCursor as string | null
    }
    return found
  }
  const drained = () => until(async () => (await admin('')).queued === 0, 120_000)
  await drained()
  const places = async () => ({
    booked: [...backend.ledger.values()].map(({ transaction, applied }): Found => ({ transactionId: transaction.transaction_id, senderId: transaction.sender_id, giftId: transaction.gift_id, applied })),
    failed: await list('failed', 'failed'),
    dead: await list('dead-letters', 'deadLetters')
  })
  const before = await places()
  t.comment(`charged ${before.booked.length}, rejected ${before.failed.length}, dead letters ${before.dead.length}, sent again ${[...backend.ledger.values()].filter(({ received }) => received > 1).length}`)
  check(t, 'after the chaos', attempts, before)
  const notBooked = new Set([...before.failed, ...before.dead].map(({ transactionId }) => transactionId))
  t.same([...toldOfErrors].filter((id) => !notBooked.has(id)), [], `${toldOfErrors.size} senders received errors, all correct`)

  const { replayed } = await admin('/dead-letters/replay', 'POST')
  t.equal(replayed, before.dead.length, 'all dead letters are replayed')
  await drained()
  const after = await places()
  t.same(after.dead, [], 'the backend is healthy, so no dead letters remain')
  check(t, 'after the replay', attempts, after)
}

interface Attempt {
  sender: number
  key: string
  transactionId?: string
}

interface Found {
  transactionId: string
  senderId: unknown
  giftId: number
  applied?: number
}

function check (t: Test, when: string, attempts: ReadonlyMap<number, Attempt>, { booked, failed, dead }: Record<'booked' | 'failed' | 'dead', Found[]>): void {
  const ids = (found: readonly Found[]) => found.map(({ transactionId }) => transactionId)
  for (const [name, found] of Object.entries({ booked, failed, dead })) t.equal(new Set(ids(found)).size, found.length, `${when}: no duplicates in ${name}`)
  t.ok(booked.every(({ applied }) => applied === 1), `${when}: coins were moved once per gift`)

  const [isBooked, isFailed, isDead] = [new Set(ids(booked)), new Set(ids(failed)), new Set(ids(dead))]
  t.same(ids(failed).filter((id) => isBooked.has(id) || isDead.has(id)), [], `${when}: a rejected gift is in no other state`)
  // The backend may have charged a gift even if the backend's responses to all three attempts were lost. Such a gift
  // remains a dead letter until an admin replays the gift.
  const unheard = ids(dead).filter((id) => isBooked.has(id))
  if (unheard.length > 0) t.comment(`${when}: ${unheard.length} dead letters were charged without a response`)

  const acknowledged = [...attempts.values()].flatMap(({ transactionId }) => transactionId ?? [])
  t.equal(new Set(acknowledged).size, acknowledged.length, `${when}: ids are unique`)
  t.same(acknowledged.filter((id) => !isBooked.has(id) && !isFailed.has(id) && !isDead.has(id)), [], `${when}: none of ${acknowledged.length} gifts is lost`)

  const everywhere = new Map([...booked, ...failed, ...dead].map((found) => [found.transactionId, found]))
  const invented = [...everywhere.values()].filter(({ transactionId, giftId, senderId }) => {
    const attempt = attempts.get(giftId)
    return attempt?.sender !== senderId || (attempt?.transactionId ?? transactionId) !== transactionId
  })
  t.same(invented, [], `${when}: no unknown gifts`)
  t.equal(new Set([...everywhere.values()].map(({ giftId }) => giftId)).size, everywhere.size, `${when}: no gift is stored twice`)
  t.comment(`${when}: ${everywhere.size - acknowledged.length} more gifts were stored without an acknowledgement`)
}

/** Applies one backend fault after another, with healthy periods in between. */
async function breakBackend (backend: Backend, done: () => boolean): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  while (!done()) {
    const fault = pick([...faults, undefined])
    const name = fault === undefined ? 'down' : `${fault.kind} ${fault.status ?? ''}`.trim()
    counts[name] = (counts[name] ?? 0) + 1
    const mend = fault === undefined ? undefined : backend.fault({ call: 'gifts', ...fault })
    if (mend === undefined) await backend.stop()
    // Most faults are short, but some outlast all attempts to deliver a gift.
    await delay(Math.random() ** 3 * 7000)
    if (mend === undefined) await backend.start()
    mend?.()
    await delay(Math.random() * 1200)
  }
  return counts
}

interface Node {
  url (): Promise<string>
  killAndStart (): Promise<void>
}

const nodeEnv = { FEATURES: 'auth,gifts,laravel-bridge', LARAVEL_API_TIMEOUT_MS: '1000' }

async function startMortalNode (t: Test, env: Record<string, string>): Promise<Node> {
  const start = (env: Record<string, string>) => buildMortal(t, { env, reaches: ['REDIS_URL', 'LARAVEL_API_URL'], timings: shortTimings })
  let server = await start(env)
  return {
    url: async () => server.url,
    async killAndStart () {
      server = await start(server.kill())
    }
  }
}

async function startNode (t: Test, folder: string, i: number, env: Record<string, string>): Promise<Node> {
  const port = String(await freePort())
  const data = join(folder, `data-${i}`)
  const start = () => {
    const server = startServer(t, {
      MEDIASOUP_WORKERS: '1',
      MEDIASOUP_RTC_MIN_PORT: String(40_000 + (process.pid * 20 + i * 5) % 15_000),
      LOG_LEVEL: 'warn',
      PORT: port,
      DATA_DIR: data,
      ...env
    })
    // The test sends no signal other than SIGKILL, so any other exit is a failure.
    server.exit.then(({ code, signal }) => {
      if (signal !== 'SIGKILL') t.fail(`a server exited unexpectedly with ${code}: ${server.output()}`)
    }, () => {})
    return server
  }
  let server: ServerProcess = start()
  const url = `http://127.0.0.1:${port}`
  await untilResponding(server, url)
  return {
    url: async () => url,
    async killAndStart () {
      server.child.kill('SIGKILL')
      await server.exit
      server = start()
      await untilResponding(server, url)
    }
  }
}

/** Starts a Redis that writes each command to disk before it replies. */
async function startDurableRedis (t: Test, folder: string): Promise<{ url: string, killAndStart (): Promise<void> }> {
  mkdirSync(folder)
  const port = await freePort()
  let child: ChildProcess
  const start = async () => {
    const started = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--dir', folder], { stdio: ['ignore', 'pipe', 'ignore'] })
    child = started
    await new Promise<void>((resolve) => started.stdout.on('data', (chunk) => {
      if (String(chunk).includes('Ready to accept connections')) resolve()
    }))
  }
  const kill = async () => {
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  await start()
  t.teardown(kill)
  return {
    url: `redis://127.0.0.1:${port}/3`,
    async killAndStart () {
      await kill()
      await start()
    }
  }
}
