import { defineFeature } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { EmojiNotAllowed, emojiNotAllowed } from './errors.ts'
import { config } from './config.ts'
import { events, joinReply, requests } from './messages.ts'
import { createReactions } from './service.ts'
import type { Reactions } from './service.ts'

export { config, requests }
export const errors = { EmojiNotAllowed }

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    reactions: Reactions
  }
}

/**
 * Adds emoji reactions to rooms. Rooms with many members receive counts once per second instead of individual
 * reactions.
 */
export default defineFeature(async function reactions (app, { emojis, reactionsPerMinute, coalesceOver }) {
  const { hooks, messages, metrics } = app
  const sent = metrics.counter('flylive_reactions_total', 'Reactions sent, by emoji', ['emoji'])
  const allowed = new Set(emojis)
  const service = createReactions(app, coalesceOver)
  app.decorate('reactions', service)
  messages.events(events)
  messages.adds('room:join', joinReply)

  messages.on('room:react', { ...requests['room:react'], limit: { perMinute: reactionsPerMinute } }, async ({ emoji }, { room, session }) => {
    if (!allowed.has(emoji)) throw emojiNotAllowed(emojis)
    await service.react(room, session, emoji)
    sent.inc({ emoji })
    return {}
  })

  hooks.on('room:join', () => ({ reactions: { emojis } } satisfies z.input<typeof joinReply>))
  hooks.on('room:close', ({ roomId }) => service.forget(roomId))
  hooks.on('feature:loaded', (name) => { if (name === 'reactions') service.takeOver() })
}, { name: 'reactions', dependencies: ['rooms', 'store'], config })
