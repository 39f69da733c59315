import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as { version: string }

const status = z.enum(['ok', 'not ready'])
const checks = z.record(z.string(), z.object({ ok: z.boolean(), error: z.string().optional() })).describe('Results by dependency')
const readiness = z.object({ status, checks: z.record(z.string(), z.object({ ok: z.boolean() })).describe('Results by dependency') })

/** A server of the deployment. */
export const nodeReport = z.object({
  nodeId: z.string().describe('Unique per start'),
  name: z.string().describe('NODE_ID'),
  state: z.enum(['ready', 'cordon', 'drain']),
  connections: z.int(),
  maxConnections: z.int(),
  rooms: z.int().describe('Rooms with members on the server'),
  consumers: z.int().describe("Audio consumers of the server's clients"),
  workersCpu: z.array(z.number()).describe('CPU use per media worker; 1 is a whole core'),
  relayPorts: z.object({ used: z.int(), total: z.int() }).describe('UDP ports for audio between servers'),
  isFull: z.boolean().describe('Whether the server rejects new connections because of its limits')
})

const details = z.object({
  node: z.string(),
  uptime: z.int().describe('Seconds'),
  store: z.enum(['memory', 'redis']),
  checks,
  warnings: z.array(z.string()).describe('Problems that do not stop the server but that an operator should fix'),
  clock: z.object({ skewMs: z.int().describe("How far the machine's clock is ahead of the clock used for deadlines, in milliseconds") }),
  connections: z.int(),
  rooms: z.int(),
  workers: z.array(z.object({ index: z.int(), pid: z.int(), port: z.int(), routers: z.int() })),
  nodes: z.array(nodeReport).describe('The servers of the deployment; this one is the first'),
  features: z.array(z.object({ name: z.string(), state: z.enum(['enabled', 'disabled', 'failed']), generation: z.int(), error: z.string().optional() }))
})
const health = z.object({ status, version: z.string(), ...details.partial().shape }).describe('Returns only status and version, unless the request has an admin key')

const tags = ['health']
const notReady = 'Not ready: do not send users here'

/** Routes for liveness, readiness and a detailed status. */
export default (async function pages (app) {
  app.get('/livez', {
    schema: { tags, summary: 'Returns 200 if the process is running', response: { 200: z.object({ status: z.literal('ok') }) } }
  }, async () => ({ status: 'ok' as const }))

  app.get('/readyz', {
    schema: { tags, summary: 'Returns whether this server is ready', response: { 200: readiness, 503: readiness.describe(notReady) } }
  }, async (_request, reply) => {
    const { ready, checks } = await app.health.check()
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' as const : 'not ready' as const, checks: Object.fromEntries(Object.entries(checks).map(([name, { ok }]) => [name, { ok }])) })
  })

  app.get('/health', {
    schema: { tags, summary: 'Returns the status of this server, with details if the request has an admin key', security: [{}, { adminKey: [] }], response: { 200: health, 503: health.describe(notReady) } }
  }, async (request, reply) => {
    const { ready, checks, warnings } = await app.health.check()
    const brief = { status: ready ? 'ok' as const : 'not ready' as const, version }
    reply.code(ready ? 200 : 503).header('cache-control', 'no-store')
    if (!await app.admin.identify(request)) return reply.send(brief)
    return reply.send({
      ...brief,
      node: app.nodeId,
      uptime: Math.round(process.uptime()),
      store: app.store.kind,
      checks,
      warnings,
      clock: { skewMs: app.clock.skewMs() },
      connections: app.sockets.size,
      rooms: app.rooms.size,
      workers: app.sfu.workers(),
      nodes: app.nodes.list(),
      features: app.features.list().map(({ name, state, generation, error }) => ({ name, state, generation, ...(error === undefined ? {} : { error }) }))
    })
  })
}) satisfies FastifyPluginAsyncZod
