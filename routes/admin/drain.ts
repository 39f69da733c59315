import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'

/** POST /admin/drain: takes this server out of service; answers when it is empty or the time is over. */
export default (async function drain (app) {
  if (!app.admin.enabled) return

  app.post('/admin/drain', {
    schema: {
      body: z.object({ deadlineSeconds: z.number().min(0).max(3600) }),
      response: { 200: z.object({ result: z.enum(['empty', 'deadline']), sessions: z.int() }) }
    }
  }, async ({ body: { deadlineSeconds } }) => {
    app.log.info({ deadlineSeconds }, 'admin drains this server')
    const result = await app.drain.begin(deadlineSeconds)
    return { result, sessions: app.sockets.size }
  })
}) satisfies FastifyPluginAsyncZod
