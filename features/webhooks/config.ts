import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

const url = z.url({ protocol: /^https?$/, error: 'must be http(s) addresses like https://example.com/webhooks, separated by commas' })
  .refine((text) => URL.parse(text)?.username === '' && URL.parse(text)?.password === '', 'must not contain a user name or password. Receivers check the signature instead')

/** Settings that an admin can change at run time. */
export const config = z.object({
  urls: fromEnv('WEBHOOK_URLS', z.array(url).max(20).transform((urls) => [...new Set(urls)]).default([])
    .describe('URLs that receive every webhook. Setting this variable turns webhooks on.'), read.list),
  secret: fromEnv('WEBHOOK_SECRET', secret(z.string().min(8, 'must have at least 8 characters').optional()
    .describe('Key for signing webhooks (header X-Msab-Signature). Use at least 32 random characters. Required with WEBHOOK_URLS.'))),
  timeoutMs: fromEnv('WEBHOOK_TIMEOUT_MS', z.int().min(100).max(60_000).default(10_000)
    .describe('Timeout of a request to a webhook receiver, in milliseconds.'), read.number),
  concurrency: fromEnv('WEBHOOK_CONCURRENCY', z.int().min(1).max(200).default(10)
    .describe('Maximum number of concurrent requests per server and URL. The webhooks of one room are sent one at a time.'), read.number),
  retryMs: fromEnv('WEBHOOK_RETRY_MS', z.int().min(1).max(60_000).default(1000)
    .describe('Delay before the first retry of a failed webhook, in milliseconds. Each further delay is twice as long as the previous one, up to 10 minutes.'), read.number),
  retryHours: fromEnv('WEBHOOK_RETRY_HOURS', z.number().min(0).max(168).default(24)
    .describe('The server retries a failed webhook for this many hours; after that, the webhook becomes a dead letter.'), read.number),
  queueLimit: fromEnv('WEBHOOK_QUEUE_LIMIT', z.int().min(10).max(10_000_000).default(100_000)
    .describe('Maximum number of queued webhooks per URL. Above this number, the oldest webhooks become dead letters.'), read.number),
  deadLetterLimit: fromEnv('WEBHOOK_DEAD_LETTER_LIMIT', z.int().min(0).max(1_000_000).default(10_000)
    .describe('Maximum number of dead letters. Above this number, the server deletes the oldest dead letters.'), read.number)
})

export const requirements = [
  { name: 'WEBHOOK_SECRET', when: (given: Readonly<Record<string, string | undefined>>) => given.WEBHOOK_URLS !== undefined, reason: 'with WEBHOOK_URLS' }
]

export const enabledBy = 'WEBHOOK_URLS'
