import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { until } from './retry.ts'

export const webhookSecret = 'a-webhook-secret-for-tests'

/** The body of a webhook. */
export interface Webhook {
  id: string
  event: string
  createdAt: number
  roomId: string
  data: Record<string, unknown>
}

/** A receiver's response to a webhook: a status, optionally with headers. With `hang`, the receiver never responds. */
export type Answer = number | { status: number, headers: Record<string, string> } | 'hang'

/** A real HTTP server that receives webhooks and checks their signatures. */
export interface Receiver {
  readonly url: string
  /** The webhooks that the receiver answered with 2xx, in order. */
  readonly accepted: Webhook[]
  /** All requests, in order of arrival. */
  readonly requests: { webhook: Webhook, signature: string, path: string, at: number }[]
  /** The highest number of requests that were in flight at once. */
  readonly peak: number
  /** Returns the response. Default: 200. */
  answer: (webhook: Webhook) => Answer | Promise<Answer>
  /** Waits for an accepted webhook. */
  next (event: string, fits?: (webhook: Webhook) => boolean): Promise<Webhook>
  /** Names of a room's events that the receiver has accepted. */
  names (roomId: string): string[]
  close (): Promise<void>
}

/** Checks the header as docs/webhooks.md describes, without using the server's code. */
function isSigned (header: string, body: string): boolean {
  const [, t = '', v1 = ''] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(header) ?? []
  return Math.abs(Date.now() / 1000 - Number(t)) < 300 && createHmac('sha256', webhookSecret).update(`${t}.${body}`).digest('hex') === v1
}

/** @param port the port to listen on; by default, any free port */
export async function startReceiver (t: Test, port = 0): Promise<Receiver> {
  const requests: Receiver['requests'] = []
  const accepted: Webhook[] = []
  let inFlight = 0
  let peak = 0
  const server = createServer((request, response) => {
    peak = Math.max(peak, ++inFlight)
    response.once('close', () => { inFlight-- })
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => { body += chunk })
    request.once('end', async () => {
      const webhook = JSON.parse(body) as Webhook
      const signature = String(request.headers['x-msab-signature'])
      requests.push({ webhook, signature, path: String(request.url), at: performance.now() })
      if (!isSigned(signature, body)) return response.writeHead(401).end()
      const answer = await receiver.answer(webhook)
      if (answer === 'hang' || response.destroyed) return
      const { status, headers } = typeof answer === 'number' ? { status: answer, headers: {} } : answer
      if (status >= 200 && status < 300) accepted.push(webhook)
      response.writeHead(status, headers).end()
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    server.closeAllConnections()
    if (server.listening) await new Promise((resolve) => { server.close(resolve) })
  }
  t.teardown(close)
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks?from=msab`,
    requests,
    accepted,
    get peak () {
      return peak
    },
    answer: () => 200,
    async next (event, fits = () => true) {
      const find = () => accepted.find((webhook) => webhook.event === event && fits(webhook))
      await until(() => find() !== undefined || (() => { throw new Error(`no ${event}; accepted: ${JSON.stringify(accepted.slice(-20))}`) })())
      return find() as Webhook
    },
    names: (roomId) => accepted.filter((webhook) => webhook.roomId === roomId).map(({ event }) => event),
    close
  }
  return receiver
}

/** The environment of a server that sends webhooks to the receivers with short retry delays. */
export function webhookEnv (...receivers: readonly Pick<Receiver, 'url'>[]): Record<string, string> {
  return { WEBHOOK_URLS: receivers.map(({ url }) => url).join(), WEBHOOK_SECRET: webhookSecret, WEBHOOK_RETRY_MS: '20' }
}
