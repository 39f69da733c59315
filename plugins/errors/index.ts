import fp from 'fastify-plugin'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { NotFound, toWire, validationFailed } from './codes.ts'

/** What Fastify refuses before there is a route, a malformed URL say, in the shape of all other errors. */
export function frameworkErrors (error: Error, _request: unknown, reply: Pick<FastifyReply, 'code'>): void {
  const { status, wire } = toWire(error)
  reply.code(status).send({ error: wire })
}

/**
 * Gives an instance the one error shape of the REST interface,
 * `{"error":{"code","message","details?"}}`. The kernel and every feature's
 * child instance use it.
 *
 * @param app the instance, before its routes
 */
export function useWireErrors (app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const meant = hasZodFastifySchemaValidationErrors(error)
      ? validationFailed(error.validation.map((issue) => ({ path: issue.instancePath.split('/').filter(Boolean), message: issue.message ?? 'is not valid' })))
      : error
    const { status, wire } = toWire(meant)
    if (status >= 500) request.log.error({ err: error }, 'request failed')
    if (status === 503) reply.header('retry-after', '1')
    const { retryAfterMs } = { ...wire.details as object } as { retryAfterMs?: number }
    if (retryAfterMs !== undefined) reply.header('retry-after', String(Math.ceil(retryAfterMs / 1000)))
    return reply.code(status).send({ error: wire })
  })
  app.setNotFoundHandler((request) => {
    throw new NotFound(request.url.split('?')[0])
  })
}

export default fp(async function errors (app) {
  useWireErrors(app)
}, { name: 'errors' })
