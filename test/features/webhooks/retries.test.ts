import t from 'tap'
import { backoffMs, outcomeOf } from '../../../features/webhooks/deliverer.ts'
import { retryAfterMs, signatureOf } from '../../../features/webhooks/sender.ts'
import { targetOf } from '../../../features/webhooks/service.ts'

t.test('retries for a day, with an exponential backoff of up to ten minutes', async (t) => {
  t.strictSame([0, 1, 2, 9, 20].map((tries) => backoffMs(1000, tries, 0.5)), [1000, 2000, 4000, 512_000, 600_000])
  t.strictSame([backoffMs(1000, 0, 0), backoffMs(1000, 0, 1)], [800, 1200])
  const event = { id: 'x', queuedAt: 0, body: '' }
  const hour = 3_600_000
  const after = (result: 'error' | 'rejected', now: number) => outcomeOf({ result, reason: 'HTTP', retryAfterMs: undefined }, { tries: 100, event }, { now, retryMs: 1000, retryForMs: 24 * hour }).to
  for (const result of ['error', 'rejected'] as const) {
    t.equal(after(result, 24 * hour - 1), 'retry')
    t.equal(after(result, 24 * hour), 'dead')
  }
  t.match(outcomeOf({ result: 'limited', reason: 'HTTP 429', retryAfterMs: 30_000 }, { tries: 0, event }, { now: 1, retryMs: 1000, retryForMs: hour }), { to: 'retry', delayMs: 30_000 })
})

t.test('reads Retry-After', async (t) => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  t.strictSame(['7', 'Thu, 01 Jan 2026 00:00:09 GMT', 'Wed, 31 Dec 2025 00:00:00 GMT', '999999', 'soon', undefined].map((header) => retryAfterMs(header, now)), [7000, 9000, 0, 3_600_000, undefined, undefined])
})

t.test('signs webhooks as documented', async (t) => {
  // printf '1700000000.{"a":"é"}' | openssl dgst -sha256 -hmac secret-key
  t.equal(signatureOf('secret-key', 1_700_000_000, '{"a":"é"}'), 't=1700000000,v1=a33cc14701a0cc4294e705e41188b6c745fa025a63744bc9bf4457e2444042d5')
})

t.test('each URL has its own queue, and the name of the queue omits the query string', async (t) => {
  const [a, b] = [targetOf('https://hooks.example.com/a?token=1'), targetOf('https://hooks.example.com/a?token=2')]
  t.match(a, { id: /^hooks\.example\.com-[0-9a-f]{8}$/, shownUrl: 'https://hooks.example.com/a' })
  t.not(a.id, b.id)
})
