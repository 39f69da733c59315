import type { Metrics } from 'flylive-audio-server/feature'

export type WebhookMetrics = ReturnType<typeof createWebhookMetrics>

export function createWebhookMetrics (metrics: Metrics) {
  const created = {
    events: metrics.counter('flylive_webhook_events_total', 'Webhooks added to the queues, by event', ['event']),
    corrections: metrics.counter('flylive_webhook_corrections_total', 'Room changes that the webhooks did not report at first, but after a later comparison of the room state', []),
    dropped: metrics.counter('flylive_webhook_changes_dropped_total', 'Room changes that webhooks do not report, because too many changes were waiting to be stored (logged as WEBHOOK_CHANGES_DROPPED)', []),
    requests: metrics.counter('flylive_webhook_requests_total', 'Requests to receivers, by result: ok, rejected (4xx), limited (429 or 503), error (other statuses), timeout, unreachable or reset', ['queue', 'result']),
    duration: metrics.histogram('flylive_webhook_duration_seconds', 'Duration of requests to receivers', ['queue'], [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]),
    pending: metrics.gauge('flylive_webhook_pending', 'Webhooks waiting for delivery, across all servers', ['queue']),
    oldestAge: metrics.gauge('flylive_webhook_oldest_age_seconds', 'Age of the oldest webhook waiting for delivery, across all servers', ['queue']),
    deadLetters: metrics.gauge('flylive_webhook_dead_letters', 'Dead letters, across all servers', []),
    dead: metrics.counter('flylive_webhook_dead_total', 'Webhooks that became dead letters, by reason: expired (all retries failed) or overflow (the queue was full)', ['queue', 'reason']),
    deleted: metrics.counter('flylive_webhook_dead_deleted_total', 'Dead letters deleted because there were more than WEBHOOK_DEAD_LETTER_LIMIT', [])
  }
  // Start the counter at 0, because an alert does not count the first value of a series as an increase.
  created.dead.inc({ queue: 'any', reason: 'overflow' }, 0)
  return created
}
