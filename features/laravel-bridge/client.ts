import pLimit from 'p-limit'
import type { LimitFunction } from 'p-limit'
import { errors, Pool } from 'undici'
import { isCoded, timeoutSignal, unavailable, withTimeout } from 'flylive-audio-server/feature'
import type { Metrics, z } from 'flylive-audio-server/feature'
import { createBreaker, isOpen } from './breaker.ts'
import type { Breaker, BreakerOptions } from './breaker.ts'
import { BackendFailed } from './errors.ts'
import { isRejection, rejection } from './rejections.ts'

/** Names of the calls in the backend's contract, as used in metrics. */
export const callNames = ['gifts', 'status', 'room', 'role'] as const
export type CallName = (typeof callNames)[number]

export interface Call {
  name: CallName
  method: 'GET' | 'POST'
  /** Path segments after /api/v1/internal/. The client URL-encodes each segment. */
  path: readonly string[]
  body?: unknown
}

export interface BackendClient {
  /**
   * Calls the backend, without retries. Calls above the concurrency limit wait in a queue and
   * fail if they wait longer than the timeout of a call or 10 s, whichever is shorter.
   *
   * @returns the validated response; undefined if the backend returns 404
   * @throws UNAVAILABLE if the request did not reach the backend, or exceeded the backend's rate limit; BACKEND_FAILED if
   *   the backend rejected the request or sent no valid response. If there is no valid response, the backend may still
   *   have processed the request
   */
  call<S extends z.ZodType> (call: Call, schema: S): Promise<z.output<S> | undefined>
  /** Waits up to 2 s for in-flight calls, then aborts them. */
  close (): Promise<void>
}

export interface ClientOptions {
  /** Base URL of all calls, with an optional path. */
  url: string
  key: string
  /** Timeout of a whole call, from connecting to the end of the response body, in milliseconds. */
  timeoutMs: number
  metrics: Metrics
  breaker?: Partial<BreakerOptions>
}

/**
 * Maximum number of concurrent calls per kind of call. Each call uses its own connection. Further calls wait in the
 * client's own queue, because a wait for a connection would count as backend latency.
 */
const maxConcurrent: Record<CallName, number> = { gifts: 4, status: 8, room: 8, role: 16 }
/**
 * Maximum time in the queue, in milliseconds. The time in the queue plus the duration of the call must be shorter than
 * the lease of the job that makes the call.
 */
const maxWaitMs = 10_000
/** Maximum size of a response, in bytes. The largest valid response lists the failed gifts of one batch. */
const maxResponseBytes = 1_048_576
/**
 * Maximum duration of a call that a job makes, in milliseconds. The call must end before the job's lease of 60 s
 * expires; otherwise another server repeats the job.
 */
const maxJobCallMs = 30_000
/** How long a closing client waits for in-flight calls, in milliseconds. */
const graceMs = 2000

type CallResult = 'ok' | 'not_found' | 'refused' | 'error' | 'timeout' | 'reset' | 'malformed' | 'unreachable' | 'turned_away'

export function createClient ({ url, key, timeoutMs, metrics, breaker = {} }: ClientOptions): BackendClient {
  const base = new URL(url)
  const prefix = `${base.pathname.replace(/\/+$/, '')}/api/v1/internal/`
  const pool = new Pool(base.origin, {
    connections: Object.values(maxConcurrent).reduce((sum, n) => sum + n),
    pipelining: 1,
    maxResponseSize: maxResponseBytes,
    connect: { timeout: Math.min(timeoutMs, 3000) }
  })
  const calls = metrics.counter('flylive_laravel_api_calls_total', 'Calls to the backend, by result', ['call', 'result'])
  const latency = metrics.histogram('flylive_laravel_api_latency_seconds', 'Duration of calls to the backend', ['call'], [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30])
  const state = metrics.gauge('flylive_laravel_breaker_state', 'State of the circuit breaker: 0 closed, 1 half open, 2 open', ['call'])

  // One breaker per kind of call, so that failing gift calls do not block owner lookups.
  const breakers = Object.fromEntries(callNames.map((name) => [name, createBreaker({
    maxConsecutiveFailures: 5,
    openMs: 3000,
    // The breaker counts a call when the call starts and a failure when the call ends, so the window must be longer
    // than the longest call.
    windowMs: timeoutMs + 5000,
    ...breaker
  }, (error) => !isRejection(error), (value) => state.set({ call: name }, value))])) as Record<CallName, Breaker>

  const limits = Object.fromEntries(callNames.map((name) => [name, pLimit(maxConcurrent[name])])) as Record<CallName, LimitFunction>

  async function request<S extends z.ZodType> ({ name, method, path, body }: Call, schema: S): Promise<z.output<S> | undefined> {
    const started = performance.now()
    let result: CallResult = 'ok'
    const failed = (reason: CallResult, error: Error): never => {
      result = reason
      throw error
    }
    try {
      const response = await pool.request({
        method,
        path: prefix + path.map(encodeURIComponent).join('/'),
        headers: { 'x-internal-key': key, accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        body: body === undefined ? null : JSON.stringify(body),
        signal: timeoutSignal(name === 'status' ? Math.min(timeoutMs, maxJobCallMs) : timeoutMs)
      })
      const { statusCode } = response
      // Read the whole body even if it is not used, so that the connection can be reused.
      const text = await response.body.text()
      if (statusCode === 404) {
        result = 'not_found'
        return undefined
      }
      // The backend's rate limit rejects a call before the backend processes it, and accepts the same call later.
      if (statusCode === 429) return failed('refused', unavailable('The backend limits the number of calls'))
      if (statusCode >= 502 && statusCode <= 504) return failed('unreachable', unavailable('The backend is unavailable'))
      if (statusCode >= 400 && statusCode < 500) return failed('refused', rejection(statusCode))
      if (statusCode < 200 || statusCode >= 300) return failed('error', new BackendFailed(`HTTP ${statusCode}`))
      const parsed = schema.safeParse(parseJson(text))
      if (!parsed.success) return failed('malformed', new BackendFailed(`invalid response (${parsed.error.issues.map((issue) => issue.path.join('.') || issue.message).join(', ')})`))
      return parsed.data
    } catch (error) {
      if (isCoded(error)) throw error
      const reason = reasonOf(error)
      return failed(reason, reason === 'unreachable' ? unavailable('The backend is unreachable', error) : new BackendFailed(reasonTexts[reason], { cause: error }))
    } finally {
      calls.inc({ call: name, result })
      latency.observe({ call: name }, (performance.now() - started) / 1000)
    }
  }

  return {
    async call (call, schema) {
      const { name, path } = call
      // A path segment `.` or `..` would change the URL's path. No resource has such an id.
      if (path.some((segment) => segment === '.' || segment === '..')) return undefined
      let sent = false
      const queuedAt = performance.now()
      try {
        return await limits[name](async () => {
          const breaker = breakers[name]
          if (performance.now() - queuedAt > Math.min(timeoutMs, maxWaitMs)) throw unavailable('Too many calls to the backend are waiting')
          if (isOpen(breaker)) throw unavailable('The backend is unavailable')
          return await breaker.fire(() => {
            sent = true
            return request(call, schema)
          }) as z.output<typeof schema> | undefined
        })
      } catch (error) {
        if (!sent) calls.inc({ call: name, result: 'turned_away' })
        throw error
      }
    },
    async close () {
      for (const [name, breaker] of Object.entries(breakers)) {
        breaker.shutdown()
        // A server without this feature does not call the backend, so it must not report an open circuit.
        state.set({ call: name }, 0)
      }
      const closed = pool.close().catch(() => { /* The pool is already closed. */ })
      await withTimeout(closed, graceMs, () => pool.destroy())
    }
  }
}

const reasonTexts = {
  timeout: 'timeout',
  reset: 'connection reset',
  malformed: 'response too large'
} as const

/** Classifies an error of the HTTP client. After an unknown error, the backend may have received the request. */
function reasonOf (error: unknown): 'unreachable' | keyof typeof reasonTexts {
  if (error instanceof errors.ConnectTimeoutError) return 'unreachable'
  if (error instanceof errors.ResponseExceededMaxSizeError) return 'malformed'
  // An AggregateError means that every address of the host failed.
  const { name, syscall } = (error instanceof AggregateError ? error.errors[0] : error) as { name?: string, syscall?: string }
  if (syscall === 'connect' || syscall === 'getaddrinfo') return 'unreachable'
  return name === 'TimeoutError' ? 'timeout' : 'reset'
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {}
}
