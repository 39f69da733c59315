import { defineFeature } from 'flylive-audio-server/feature'
import { config } from './config.ts'

export { config }
export * as errors from './errors.ts'

/** Sends webhooks about rooms, participants, seats, recordings and broadcasts (docs/webhooks.md). */
export default defineFeature(async function webhooks (app, settings) {
  const { urls, secret } = settings
  if (urls.length === 0 || secret === undefined) throw new Error('webhooks needs WEBHOOK_URLS and WEBHOOK_SECRET')
  // This import is dynamic, so that the libraries are loaded only while the feature is on.
  const { startWebhooks } = await import('./service.ts')
  await startWebhooks(app, { ...settings, secret })
}, { name: 'webhooks', dependencies: ['rooms', 'store', 'jobs'], config })
