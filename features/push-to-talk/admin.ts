import { userIdText, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { deviceList } from './devices.ts'
import type { Devices } from './devices.ts'
import type { Recorder } from './recorder.ts'

const messageId = z.object({ messageId: z.string().min(1).max(400) })
const tags = ['push-to-talk']

/**
 * Routes with which the backend and admins read the devices' push tokens and manage recorded talks (radio
 * transmissions).
 */
export function adminRoutes (app: FeatureInstance, devices: Devices, recorder: Recorder): void {
  app.get('/admin/push-to-talk/users/:userId/devices', {
    schema: { tags, summary: "Returns the push tokens of a user's devices", params: z.object({ userId: userIdText }), response: { 200: z.object({ devices: deviceList }) } }
  }, async ({ params: { userId } }) => ({ devices: await devices.list(userId) }))

  app.get('/admin/push-to-talk/talks', {
    schema: { tags, summary: 'Lists the stored talks', response: { 200: z.object({ talks: z.array(z.object({ messageId: z.string(), bytes: z.int(), createdAt: z.int() })) }) } }
  }, async () => ({ talks: await recorder.list() }))

  app.get('/admin/push-to-talk/talks/:messageId', {
    schema: { tags, summary: 'Returns a talk', params: messageId, response: { 200: { description: 'An Ogg Opus file', content: { 'audio/ogg': { schema: z.string() } } } } }
  }, async ({ params: { messageId } }, reply) => reply.type('audio/ogg').send(await recorder.read(messageId) as never))

  app.delete('/admin/push-to-talk/talks/:messageId', {
    schema: { tags, summary: 'Deletes a talk', params: messageId, response: { 204: z.null() } }
  }, async (request, reply) => {
    const { messageId } = request.params
    await recorder.delete(messageId)
    app.admin.audit(request, 'push-to-talk.delete', { messageId, before: 'kept', after: null })
    return reply.code(204).send(null)
  })
}
