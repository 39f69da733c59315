import pLimit from 'p-limit'
import type { LimitFunction } from 'p-limit'
import { errors, Pool } from 'undici'
import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { Metrics, z } from 'flylive-audio-server/feature'
import { createBreaker, isOpen } from './breaker.ts'
import type { Breaker, BreakerOptions } from './breaker.ts'
import { BackendFailed } from './errors.ts'

/** The calls of the contract, by the name they have in metrics. */
export const callNames = ['gifts', 'status', 'room', 'role'] as const
export type CallName = (typeof callNames)[number]

export interface Call {
  name: CallName
  method: 'GET' | 'POST'
  /** Segments behind /api/v1/internal/; each is encoded. */
  path: readonly string[]
  body?: unknown
}

export interface BackendClient {
  /**
   * Asks the backend. Nothing is tried twice. When many ask at the same time some
   * wait until others are done, as long as a call may take.
   *
   * @returns the checked answer; undefined when the backend answers 404
   * @throws UNAVAILABLE when the backend could not be asked; BACKEND_FAILED when
   *   it gave no good answer, and maybe did what it was asked for
   */
  call<S extends z.ZodType> (call: Call, answer: S): Promise<z.output<S> | undefined>
  /** Waits a moment for calls that are under way, then ends them. */
  close (): Promise<void>
}

export interface ClientOptions {
  /** Base of all calls; a path in it is kept. */
  url: string
  key: string
  /** For a whole call: connecting, the answer and its body. In milliseconds. */
  timeoutMs: number
  metrics: Metrics
  breaker?: Partial<BreakerOptions>
}

/**
 * Calls of a kind on the way at a time, each on a connection of its own. What
 * comes on top waits here and not at a connection, where waiting would look like
 * a backend that is slow.
 */
const atATime: Record<CallName, number> = { gifts: 4, status: 8, room: 8, role: 16 }
/** How long a call waits for its turn at most, in milliseconds; with the call itself less than a job's lease. */
const maxWaitMs = 10_000
/** An answer names at most the gifts of one batch; anything larger is a mistake. */
const maxAnswerBytes = 1_048_576
/** The longest call of a job: its lease of 60 s must not end before it, or another server does it, too. In milliseconds. */
const maxJobMs = 30_000
/** How long a closing client lets calls go on, in milliseconds. */
const graceMs = 2000

/** Errors of calls that the backend refused as such. */
const refusals = new WeakSet<Error>()

/** Whether the backend refused a call as such, so that asking again soon is no use. */
export const isRefusal = (error: unknown): boolean => error instanceof Error && refusals.has(error)

/** @param status 4xx */
function refusal (status: number): Error {
  const error = new BackendFailed(`it refuses the call with ${status}`)
  refusals.add(error)
  return error
}

type CallResult = 'ok' | 'not_found' | 'refused' | 'error' | 'timeout' | 'reset' | 'malformed' | 'unreachable' | 'turned_away'

export function createClient ({ url, key, timeoutMs, metrics, breaker = {} }: ClientOptions): BackendClient {
  const base = new URL(url)
  const prefix = `${base.pathname.replace(/\/+$/, '')}/api/v1/internal/`
  const pool = new Pool(base.origin, {
    connections: Object.values(atATime).reduce((sum, n) => sum + n),
    pipelining: 1,
    maxResponseSize: maxAnswerBytes,
    connect: { timeout: Math.min(timeoutMs, 3000) }
  })
  const calls = metrics.counter('flylive_laravel_api_calls_total', 'Calls to the backend, by result', ['call', 'result'])
  const latency = metrics.histogram('flylive_laravel_api_latency_seconds', 'How long calls to the backend took', ['call'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30])
  const state = metrics.gauge('flylive_laravel_breaker_state', 'Whether calls to the backend go through: 0 all, 1 one to try, 2 none', ['call'])

  // One for each kind of call: gifts that the backend chokes on must not keep
  // the owner of a room from it.
  const breakers = Object.fromEntries(callNames.map((name) => [name, createBreaker({
    failuresInARow: 5,
    openMs: 3000,
    // A call counts from its start and a failure from its end, so it must be longer than a call.
    windowMs: timeoutMs + 5000,
    ...breaker
  }, (error) => !isRefusal(error), (value) => state.set({ call: name }, value))])) as Record<CallName, Breaker>

  const turns = Object.fromEntries(callNames.map((name) => [name, pLimit(atATime[name])])) as Record<CallName, LimitFunction>

  async function request<S extends z.ZodType> ({ name, method, path, body }: Call, answer: S): Promise<z.output<S> | undefined> {
    const started = performance.now()
    let result: CallResult = 'ok'
    const failed = (why: CallResult, error: Error): never => {
      result = why
      throw error
    }
    try {
      const response = await pool.request({
        method,
        path: prefix + path.map(encodeURIComponent).join('/'),
        headers: { 'x-internal-key': key, accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(name === 'status' ? Math.min(timeoutMs, maxJobMs) : timeoutMs)
      })
      const { statusCode } = response
      // Read in any case: only then can the connection be used again.
      const text = await response.body.text()
      if (statusCode === 404) {
        result = 'not_found'
        return undefined
      }
      if (statusCode >= 502 && statusCode <= 504) return failed('unreachable', unavailable('The backend is not available'))
      if (statusCode >= 400 && statusCode < 500) return failed('refused', refusal(statusCode))
      if (statusCode < 200 || statusCode >= 300) return failed('error', new BackendFailed(`it answers ${statusCode}`))
      const parsed = answer.safeParse(parseJson(text))
      if (!parsed.success) return failed('malformed', new BackendFailed(`its answer is not what it should be (${parsed.error.issues.map((issue) => issue.path.join('.') || issue.message).join(', ')})`))
      return parsed.data
    } catch (error) {
      if (isCoded(error)) throw error
      const why = reasonOf(error)
      return failed(why, why === 'unreachable' ? unavailable('The backend cannot be reached', error) : new BackendFailed(texts[why], { cause: error }))
    } finally {
      calls.inc({ call: name, result })
      latency.observe({ call: name }, (performance.now() - started) / 1000)
    }
  }

  return {
    async call (call, answer) {
      const { name, path } = call
      // An id that is a step in a path would lead elsewhere, and names nothing.
      if (path.some((segment) => segment === '.' || segment === '..')) return undefined
      let asked = false
      const queuedAt = performance.now()
      try {
        return await turns[name](async () => {
          const breaker = breakers[name]
          if (performance.now() - queuedAt > Math.min(timeoutMs, maxWaitMs)) throw unavailable('The backend is asked too much at the moment')
          if (isOpen(breaker)) throw unavailable('The backend is not available')
          return await breaker.fire(() => {
            asked = true
            return request(call, answer)
          }) as z.output<typeof answer> | undefined
        })
      } catch (error) {
        if (!asked) calls.inc({ call: name, result: 'turned_away' })
        throw error
      }
    },
    async close () {
      for (const breaker of Object.values(breakers)) breaker.shutdown()
      const timer = setTimeout(() => { pool.destroy() }, graceMs)
      await pool.close().catch(() => { /* Destroyed meanwhile. */ })
      clearTimeout(timer)
    }
  }
}

const texts = {
  timeout: 'it does not answer in time',
  reset: 'the connection was broken off',
  malformed: 'its answer is too large'
} as const

/** What an error of the HTTP client means; whatever is not known for sure counts as asked. */
function reasonOf (error: unknown): 'unreachable' | keyof typeof texts {
  if (error instanceof errors.ConnectTimeoutError) return 'unreachable'
  if (error instanceof errors.ResponseExceededMaxSizeError) return 'malformed'
  // Where a name has several addresses, all of them were tried.
  const { name, syscall } = (error instanceof AggregateError ? error.errors[0] : error) as { name?: string, syscall?: string }
  if (syscall === 'connect' || syscall === 'getaddrinfo') return 'unreachable'
  return name === 'TimeoutError' ? 'timeout' : 'reset'
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {}
}
