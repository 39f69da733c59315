import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'

/** POST /admin/drain: takes this server out of service; responds once the server is empty or the deadline passes. */
export default (async function drain (app) {
  if (!app.admin.enabled) return

  app.post('/admin/drain', {
    schema: {
      tags: ['server'],
      summary: 'Drains this server',
      description: 'Rejects new connections and rooms, and notifies clients. Responds once the server is empty or the deadline passes. Does not close connections: connections that remain at the deadline stay open until their clients leave or the server stops.',
      body: z.object({ deadlineSeconds: z.number().min(0).max(3600) }),
      response: { 200: z.object({ result: z.enum(['empty', 'deadline']), sessions: z.int() }) }
    }
  }, async (request) => {
    const { deadlineSeconds } = request.body
    app.admin.audit(request, 'server.drain', { deadlineSeconds, before: { draining: app.drain.draining }, after: { draining: true } })
    const result = await app.drain.begin(deadlineSeconds)
    return { result, sessions: app.sockets.size }
  })
}) satisfies FastifyPluginAsyncZod
