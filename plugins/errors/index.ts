import fp from 'fastify-plugin'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { NotFound, toWire, validationFailed } from './codes.ts'
import type { WireError } from './codes.ts'

/** Formats the errors that Fastify raises before routing, for example for a malformed URL. */
export function frameworkErrors (error: Error, _request: unknown, reply: Pick<FastifyReply, 'code'>): void {
  const { status, wire } = toWire(error)
  reply.code(status).send({ error: wire })
}

/** @returns the id of the room in a route's parameters, for the log */
const roomOf = (params: unknown) => {
  const { roomId } = Object(params) as { roomId?: string }
  return roomId === undefined ? {} : { roomId }
}

/**
 * Makes a Fastify instance send errors in the format of the REST API, `{"error":{"code","message","details?"}}`. The
 * kernel's instance and each feature's child instance use this format.
 *
 * @param app the instance, which must not have any routes yet
 */
export function useWireErrors (app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const meant = hasZodFastifySchemaValidationErrors(error)
      ? validationFailed(error.validation.map((issue) => ({ path: issue.instancePath.split('/').filter(Boolean), message: issue.message ?? 'is not valid' })))
      : error
    const { status, wire } = toWire(meant)
    if (status >= 500) request.log.error({ err: error, ...roomOf(request.params) }, 'request failed')
    return sendError(request, reply, status, wire)
  })
  app.setNotFoundHandler((request) => {
    throw new NotFound(request.url.split('?')[0])
  })
}

/** Sends an error in the format of the REST API. */
export function sendError (request: FastifyRequest, reply: FastifyReply, status: number, wire: WireError): FastifyReply {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers
  // Close the connection, because the server does not read the rest of the request body.
  if (!request.raw.complete && (length !== '0' || encoding !== undefined)) reply.header('connection', 'close')
  if (status === 503) reply.header('retry-after', '1')
  const { retryAfterMs } = { ...wire.details as object } as { retryAfterMs?: number }
  if (retryAfterMs !== undefined) reply.header('retry-after', String(Math.ceil(retryAfterMs / 1000)))
  return reply.code(status).send({ error: wire })
}

export default fp(async function errors (app) {
  useWireErrors(app)
}, { name: 'errors' })
