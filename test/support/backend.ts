import { randomUUID, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { z } from 'zod'

export const backendKey = 'an-internal-key-for-tests-that-is-long-enough'
export const eventsChannel = 'flylive:msab:events'

const id = z.union([z.int(), z.string().min(1)])
const transaction = z.object({
  transaction_id: z.string().min(1), room_id: id, sender_id: id, recipient_id: id, gift_id: z.int().positive(), quantity: z.int().positive(), timestamp: z.int()
})
const batch = z.object({ transactions: z.array(transaction).min(1) })
const status = z.object({ is_live: z.boolean(), participant_count: z.int().min(0), started_at: z.iso.datetime().optional(), ended_at: z.iso.datetime().optional() })

export type Transaction = z.output<typeof transaction>
export type Status = z.output<typeof status>
/** The calls in the backend's contract; `other` represents all calls that are not in the contract. */
export type CallName = 'gifts' | 'status' | 'room' | 'role' | 'other'

/**
 * A fault that affects the next `times` matching requests. Without `times`, the fault affects all matching requests
 * until it is removed.
 */
export interface Fault {
  /** Call to affect. Default: all calls. */
  call?: CallName | undefined
  /** The fault affects only calls whose path contains this string. */
  path?: string | undefined
  /**
   * `slow` responds after `ms`. `status` responds with `status`. `hang` never responds. `reset` closes the connection
   * without executing the call. `reset-after` executes the call and then closes the connection. `stall` executes the
   * call and stops in the middle of the response. `malformed` executes the call and returns a body that violates the
   * contract. `reject` fails gifts with `code` and `reason`.
   */
  kind: 'slow' | 'status' | 'hang' | 'reset' | 'reset-after' | 'stall' | 'malformed' | 'reject'
  /** Delay before the call is executed, in milliseconds. */
  ms?: number | undefined
  status?: number | undefined
  code?: number | undefined
  reason?: string | undefined
  /** The gifts that `reject` rejects. Default: the whole batch. */
  transactionIds?: readonly string[] | undefined
  times?: number | undefined
}

export interface LedgerEntry {
  transaction: Transaction
  /** Number of times the gift was charged. A number above 1 would be a bug in this backend. */
  applied: number
  /** Number of requests that contained the gift. */
  received: number
}

export interface PublishOptions {
  user_id?: number | string | null | undefined
  room_id?: number | string | null | undefined
  payload?: unknown
  correlation_id?: string | undefined
}

export interface Answer {
  status: number
  body?: unknown
}

/** A backend that implements the Laravel contract over HTTP and keeps its data in this process. */
export interface Backend {
  /** Base URL of all calls: http://127.0.0.1:port. */
  readonly url: string
  readonly key: string
  /** Environment variables for a server that uses this backend. */
  readonly env: { LARAVEL_API_URL: string, LARAVEL_INTERNAL_KEY: string }
  /** Charged gifts, by transaction id. */
  readonly ledger: Map<string, LedgerEntry>
  /** Coins by user. Users without an entry have unlimited coins. A gift costs its quantity times its price. */
  readonly balances: Map<string, number>
  /** Price by gift id; the default is 1. */
  readonly prices: Map<number, number>
  /** The received room statuses and their arrival times, in order. */
  readonly statuses: { roomId: string, at: number, status: Status }[]
  /** Owner by room. */
  readonly rooms: Map<string, number | string>
  /** Returns the owner of a room that is not in `rooms`. */
  everyRoom: ((roomId: string) => number | string) | undefined
  /** Role by `room/user`. */
  readonly roles: Map<string, string>
  /** Active faults. A request triggers the first matching fault. */
  readonly faults: Fault[]
  /**
   * Adds a fault.
   *
   * @returns a function that removes the fault
   */
  fault (fault: Fault): () => void
  /** Removes all faults. */
  mend (): void
  /** The most recent calls, at most 10,000, in order of arrival. */
  readonly requests: { call: CallName, method: string, path: string, body: unknown, at: number }[]
  /** Number of received calls, including unanswered calls. */
  calls (call?: CallName): number
  /** Waits for the next request. */
  nextCall (call?: CallName): Promise<void>
  /**
   * Publishes an event in the backend's format.
   *
   * @returns the number of subscribed servers
   */
  publish (event: string, options?: PublishOptions): Promise<number>
  /** Publishes a raw string on the event channel. */
  publishText (text: string): Promise<number>
  /** Closes all connections and rejects new connections. */
  stop (): Promise<void>
  /** Listens again on the same port. */
  start (): Promise<void>
  close (): Promise<void>
}

export interface BackendOptions {
  host?: string
  port?: number
  key?: string
  redisUrl?: string
  channel?: string
  /** Handles requests that the contract does not define. Called before the backend checks the key of the request. */
  extra?: (backend: Backend, request: { method: string, path: string, body: unknown }) => Promise<Answer | undefined> | Answer | undefined
}

const patterns: [CallName, string, RegExp][] = [
  ['gifts', 'POST', /^\/api\/v1\/internal\/gifts\/batch$/],
  ['status', 'POST', /^\/api\/v1\/internal\/rooms\/([^/]+)\/status$/],
  ['room', 'GET', /^\/api\/v1\/internal\/rooms\/([^/]+)$/],
  ['role', 'GET', /^\/api\/v1\/internal\/rooms\/([^/]+)\/members\/([^/]+)\/role$/]
]
const insufficientBalance = 4002
const keptRequests = 10_000

/** Starts a backend. Resolves when the backend accepts connections. */
export async function createBackend ({ host = '127.0.0.1', port: wanted = 0, key = backendKey, redisUrl, channel = eventsChannel, extra }: BackendOptions = {}): Promise<Backend> {
  const counts = new Map<CallName, number>()
  const waiting = new Set<{ call: CallName | undefined, resolve: () => void }>()
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (!response.headersSent) send(response, { status: 500, body: { message: String(error) } })
    })
  })
  let redis: Redis | undefined
  let port = wanted

  async function start () {
    server.listen(port, host)
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }

  async function stop () {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }

  function authorized (request: IncomingMessage): boolean {
    const given = Buffer.from(String(request.headers['x-internal-key'] ?? ''))
    const right = Buffer.from(key)
    return given.length === right.length && timingSafeEqual(given, right)
  }

  function takeFault (call: CallName, path: string): Fault | undefined {
    const fault = backend.faults.find((fault) => (fault.call ?? call) === call && path.includes(fault.path ?? ''))
    if (fault?.times !== undefined && --fault.times <= 0) backend.faults.splice(backend.faults.indexOf(fault), 1)
    return fault
  }

  function note (call: CallName, method: string, path: string, body: unknown) {
    counts.set(call, (counts.get(call) ?? 0) + 1)
    backend.requests.push({ call, method, path, body, at: Date.now() })
    if (backend.requests.length > keptRequests) backend.requests.shift()
    for (const waiter of waiting) {
      if ((waiter.call ?? call) !== call) continue
      waiting.delete(waiter)
      waiter.resolve()
    }
  }

  async function handle (request: IncomingMessage, response: ServerResponse) {
    const { method = 'GET', url = '/' } = request
    const path = url.split('?')[0] ?? '/'
    const text = await readBody(request)
    const body = text === '' ? undefined : parseJson(text)
    const own = await extra?.(backend, { method, path, body })
    if (own) return send(response, own)

    const [call, , pattern] = patterns.find(([, verb, pattern]) => verb === method && pattern.test(path)) ?? (['other', method, /^/] as const)
    const parts = (pattern.exec(path) ?? []).slice(1).map(decodeURIComponent)
    note(call, method, path, body)
    const fault = takeFault(call, path)
    if (fault?.ms !== undefined) await delay(fault.ms)
    if (fault?.kind === 'hang') return
    if (fault?.kind === 'reset') return request.socket.destroy()
    if (fault?.kind === 'status') return send(response, { status: fault.status ?? 500, body: { message: 'Server Error' } })
    const answer = authorized(request) ? answerTo(call, parts, body, fault) : { status: 401, body: { message: 'Unauthenticated.' } }
    if (fault?.kind === 'reset-after') return request.socket.destroy()
    if (fault?.kind === 'stall') return response.writeHead(200, { 'content-length': 1000 }).write('{')
    if (fault?.kind === 'malformed') return response.writeHead(200, { 'content-type': 'application/json' }).end('{"processed_count": <b>Whoops</b>')
    send(response, answer)
  }

  function answerTo (call: CallName, [roomId = '', userId = '']: string[], body: unknown, fault: Fault | undefined): Answer {
    switch (call) {
      case 'gifts': {
        const { data, error } = batch.safeParse(body)
        return error ? invalid(error) : { status: 200, body: processBatch(data.transactions, fault?.kind === 'reject' ? fault : undefined) }
      }
      case 'status': {
        const { data, error } = status.safeParse(body)
        if (error) return invalid(error)
        if (ownerOf(roomId) === undefined) return missing
        backend.statuses.push({ roomId, at: Date.now(), status: data })
        return { status: 200, body: { success: true } }
      }
      case 'room': {
        const owner = ownerOf(roomId)
        return owner === undefined ? missing : { status: 200, body: { id: Number(roomId), owner_id: owner, name: `Room ${roomId}` } }
      }
      case 'role': {
        const role = backend.roles.get(`${roomId}/${userId}`)
        return role === undefined ? missing : { status: 200, body: { role } }
      }
      default: return missing
    }
  }

  const ownerOf = (roomId: string) => backend.rooms.get(roomId) ?? backend.everyRoom?.(roomId)

  /** Charges each gift once, even if the server sends the gift repeatedly. */
  function processBatch (transactions: readonly Transaction[], reject: Fault | undefined) {
    const failed: { transaction_id: string, code: number, reason: string }[] = []
    for (const item of transactions) {
      const known = backend.ledger.get(item.transaction_id)
      if (known) {
        known.received++
        continue
      }
      if (reject && (reject.transactionIds ?? [item.transaction_id]).includes(item.transaction_id)) {
        failed.push({ transaction_id: item.transaction_id, code: reject.code ?? insufficientBalance, reason: reject.reason ?? 'Insufficient balance' })
        continue
      }
      const sender = String(item.sender_id)
      const balance = backend.balances.get(sender)
      const cost = item.quantity * (backend.prices.get(item.gift_id) ?? 1)
      if (balance !== undefined && balance < cost) {
        failed.push({ transaction_id: item.transaction_id, code: insufficientBalance, reason: 'Insufficient balance' })
        continue
      }
      if (balance !== undefined) backend.balances.set(sender, balance - cost)
      backend.ledger.set(item.transaction_id, { transaction: item, applied: 1, received: 1 })
    }
    return { processed_count: transactions.length - failed.length, failed }
  }

  async function publishText (text: string): Promise<number> {
    if (redisUrl === undefined) throw new Error('The backend cannot publish, because it was started without redisUrl')
    redis ??= new Redis(redisUrl, { connectionName: 'flylive:backend' }).on('error', () => { /* Ignored, because the call that uses the client fails or is retried. */ })
    return await redis.publish(channel, text)
  }

  const backend: Backend = {
    get url () {
      return `http://${host}:${port}`
    },
    key,
    get env () {
      return { LARAVEL_API_URL: this.url, LARAVEL_INTERNAL_KEY: key }
    },
    ledger: new Map(),
    balances: new Map(),
    prices: new Map(),
    statuses: [],
    rooms: new Map(),
    everyRoom: undefined,
    roles: new Map(),
    faults: [],
    fault (fault) {
      const mine = { ...fault }
      this.faults.push(mine)
      return () => {
        const index = this.faults.indexOf(mine)
        if (index !== -1) this.faults.splice(index, 1)
      }
    },
    mend () {
      this.faults.length = 0
    },
    requests: [],
    calls: (call) => call === undefined ? [...counts.values()].reduce((sum, count) => sum + count, 0) : counts.get(call) ?? 0,
    nextCall: (call) => new Promise((resolve) => waiting.add({ call, resolve })),
    publishText,
    publish: (event, options = {}) => publishText(JSON.stringify({
      event,
      user_id: null,
      room_id: null,
      payload: {},
      timestamp: new Date().toISOString(),
      correlation_id: randomUUID(),
      ...options
    })),
    stop,
    start,
    async close () {
      await stop()
      redis?.disconnect()
    }
  }
  await start()
  return backend
}

/** Starts a backend, and stops it after the test. */
export async function startBackend (t: Test, options: BackendOptions = {}): Promise<Backend> {
  const backend = await createBackend(options)
  t.teardown(() => backend.close())
  return backend
}

const missing: Answer = { status: 404, body: { message: 'Not found.' } }
const invalid = (error: z.ZodError): Answer => ({ status: 422, body: { message: 'The given data was invalid.', errors: error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) } })

function send (response: ServerResponse, { status, body }: Answer) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body === undefined ? '' : JSON.stringify(body))
}

async function readBody (request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) text += String(chunk)
  return text
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {}
}
