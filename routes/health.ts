import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyPluginAsync } from 'fastify'

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as { version: string }

/** Whether the server lives, whether it is ready, and a page that says why. */
export default (async function health (app) {
  app.get('/livez', async () => ({ status: 'ok' }))

  app.get('/readyz', async (_request, reply) => {
    const { ready, checks } = await app.health.check()
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not ready', checks })
  })

  app.get('/health', async (_request, reply) => {
    const { ready, checks } = await app.health.check()
    return reply.code(ready ? 200 : 503).send({
      status: ready ? 'ok' : 'not ready',
      version,
      node: app.nodeId,
      uptime: Math.round(process.uptime()),
      store: app.store.kind,
      checks,
      connections: app.sockets.size,
      rooms: app.rooms.size,
      workers: app.sfu.workers(),
      features: app.features.list().map(({ name, state, generation, error }) => ({ name, state, generation, ...(error === undefined ? {} : { error }) }))
    })
  })
}) satisfies FastifyPluginAsync
