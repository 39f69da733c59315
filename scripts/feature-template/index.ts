import { defineFeature, roomId, z } from 'flylive-audio-server/feature'
import { TooLong, tooLong } from './errors.ts'
import { config, events, requests } from './messages.ts'

export { config, requests }
export const errors = { TooLong }

const params = z.object({ roomId })

/** Broadcasts a user's text to the room and stores the last text of each room. */
export default defineFeature(async function feature (app, { longest, perMinute }) {
  const { hooks, messages, metrics, rooms } = app
  // Shared by all servers; survives reloads and crashes.
  const texts = app.kv.namespace('sample-feature')
  const said = metrics.counter('flylive_sample_feature_total', 'Texts sent')
  messages.events(events)

  messages.on('sample-feature:say', { ...requests['sample-feature:say'], limit: { perMinute } }, async ({ text }, { room, session }) => {
    if (text.length > longest) throw tooLong(longest)
    const timestamp = Date.now()
    await texts.set(room.roomId, text)
    rooms.emit(room.roomId, 'sample-feature:said', { userId: session.user.id, text, timestamp })
    said.inc()
    return { timestamp }
  })
  hooks.on('room:removed', ({ roomId }) => texts.delete(roomId))

  // Routes under /admin require the admin key automatically.
  app.get('/admin/sample-feature/:roomId', {
    schema: { params, response: { 200: z.object({ text: z.string().nullable() }) } }
  }, async (request) => ({ text: await texts.get(request.params.roomId) ?? null }))

  app.delete('/admin/sample-feature/:roomId', { schema: { params } }, async (request, reply) => {
    const { roomId } = request.params
    const before = await texts.get(roomId)
    await texts.delete(roomId)
    app.admin.audit(request, 'sample-feature.forget', { roomId, before: before ?? null, after: null })
    return reply.code(204).send()
  })
}, { name: 'sample-feature', dependencies: ['rooms', 'kv'], config })
