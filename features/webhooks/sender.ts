import { createHmac } from 'node:crypto'
import { timeoutSignal } from 'flylive-audio-server/feature'
import type { Clock } from 'flylive-audio-server/feature'
import { Agent, errors, request } from 'undici'

/** The result of a request. The metric `flylive_webhook_requests_total` counts every `result` except `aborted`. */
export type SendResult =
  | { result: 'ok' }
  /** The receiver answered with a status other than 2xx. `retryAfterMs`: from the Retry-After header. */
  | { result: 'rejected' | 'limited' | 'error', reason: string, retryAfterMs: number | undefined }
  | { result: 'timeout' | 'unreachable' | 'reset', reason: string }
  /** The sender was closed during the request. */
  | { result: 'aborted' }

export interface SenderOptions {
  url: string
  secret: string
  timeoutMs: number
  /** Maximum concurrent requests. */
  concurrency: number
  clock: Clock
}

/** Sends webhooks to one address. */
export interface Sender {
  /** Sends a webhook once. Never rejects. */
  send (body: string): Promise<SendResult>
  /** Aborts the requests in flight. */
  close (): Promise<void>
}

/** Maximum delay that a Retry-After header can request, in milliseconds. */
const maxRetryAfterMs = 3_600_000
/** Maximum number of bytes that are read from a response. */
const maxResponseBytes = 65_536

/**
 * The value of X-Msab-Signature.
 *
 * @param seconds the time of the signature, in epoch seconds
 */
export function signatureOf (secret: string, seconds: number, body: string): string {
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`
}

/** @param header the Retry-After header: seconds or an HTTP date */
export function retryAfterMs (header: string | string[] | undefined, now: number): number | undefined {
  const text = String(header ?? '').trim()
  if (text === '') return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), maxRetryAfterMs)
}

export function createSender ({ url, secret, timeoutMs, concurrency, clock }: SenderOptions): Sender {
  // Without pipelining, each request uses its own connection, so the host is resolved for each request.
  const dispatcher = new Agent({ connections: concurrency, pipelining: 0, connect: { timeout: timeoutMs }, maxResponseSize: -1 })
  const closing = new AbortController()

  return {
    async send (body) {
      const signal = AbortSignal.any([timeoutSignal(timeoutMs), closing.signal])
      try {
        const { statusCode, headers, body: response } = await request(url, {
          dispatcher,
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            'user-agent': 'FlyLive-Audio-Server',
            'x-msab-signature': signatureOf(secret, Math.floor(clock.now() / 1000), body)
          },
          body,
          signal
        })
        // Only the status matters, so a response body that is too long or too slow is ignored.
        await response.dump({ limit: maxResponseBytes, signal }).catch(() => { /* The connection is closed. */ })
        if (statusCode >= 200 && statusCode < 300) return { result: 'ok' }
        return { result: kindOf(statusCode), reason: `HTTP ${statusCode}`, retryAfterMs: retryAfterMs(headers['retry-after'], clock.now()) }
      } catch (error) {
        return closing.signal.aborted ? { result: 'aborted' } : failureOf(error)
      }
    },
    async close () {
      closing.abort()
      await dispatcher.destroy()
    }
  }
}

function kindOf (status: number): 'rejected' | 'limited' | 'error' {
  if (status === 429 || status === 503) return 'limited'
  return status >= 400 && status < 500 && status !== 408 && status !== 425 ? 'rejected' : 'error'
}

function failureOf (error: unknown): SendResult {
  // An AggregateError means that no address of the host accepted a connection.
  const { name, code, syscall } = (error instanceof AggregateError ? error.errors[0] : error) as { name?: string, code?: string, syscall?: string }
  if (name === 'TimeoutError' || error instanceof errors.ConnectTimeoutError) return { result: 'timeout', reason: 'timeout' }
  if (syscall === 'connect' || syscall === 'getaddrinfo') return { result: 'unreachable', reason: `unreachable (${code})` }
  return { result: 'reset', reason: `connection failed (${code ?? name})` }
}
