import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { NotFound } from '../../plugins/errors/codes.ts'
import { refusals } from '../../plugins/errors/refusals.ts'
import { nodeReport } from '../health.ts'

/** GET /admin/nodes lists the servers of the deployment; POST /admin/nodes/:nodeId changes the state of a server. */
export default (async function nodes (app) {
  if (!app.admin.enabled) return

  app.get('/admin/nodes', {
    schema: {
      tags: ['server'],
      summary: 'Lists the servers with their state and load',
      description: 'The first entry is the server that responds. Servers that have not reported for 15 s are not listed.',
      response: { 200: z.object({ nodes: z.array(nodeReport) }) }
    }
  }, async () => ({ nodes: app.nodes.list() }))

  app.post('/admin/nodes/:nodeId', {
    schema: {
      tags: ['server'],
      summary: 'Changes the state of a server',
      description: '`ready`: accepts users. `cordon`: keeps its users, but creates no rooms. `drain`: rejects new connections and rooms, and moves its users to other servers; the response does not wait for them to leave. A restart resets the state to `ready`.',
      params: z.object({ nodeId: z.string().min(1).max(128).describe('The nodeId of a server, or its NODE_ID') }),
      body: z.object({
        state: z.enum(['ready', 'cordon', 'drain']),
        deadlineSeconds: z.number().min(0).max(3600).optional().describe('For `drain`: time until the deadline, in seconds. Default: DRAIN_SECONDS of the server that responds')
      }),
      response: { 200: nodeReport, ...refusals(NotFound) }
    }
  }, async (request) => {
    const { body: { state, deadlineSeconds }, params: { nodeId } } = request
    const { before, node } = await app.nodes.change(nodeId, state, deadlineSeconds)
    app.admin.audit(request, 'node.state', { nodeId: node.nodeId, before: { state: before }, after: { state: node.state } })
    return node
  })
}) satisfies FastifyPluginAsyncZod
