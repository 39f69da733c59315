import type { FastifyInstance } from 'fastify'
import { ValidationFailed } from '../plugins/errors/codes.ts'
import { jsonLimitExceeded } from '../plugins/schema/json-limits.ts'

/** Maximum size of a request body, in bytes. Larger bodies are rejected. A route may set its own `bodyLimit`. */
export const bodyLimit = 65_536

/**
 * Parses JSON bodies as Fastify does, with two differences. An empty body counts as no body, because many HTTP clients
 * send a content type even without a body. A body with too many or too deeply nested values is rejected before it is
 * parsed. Call this for the kernel's instance and for each feature's child instance.
 *
 * @param app the instance; register its routes afterwards
 */
export function useJsonBodies (app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') return done(null, undefined)
    const problem = jsonLimitExceeded(body)
    if (problem !== undefined) return done(new ValidationFailed(`The body ${problem}`), undefined)
    parse(request, body, done)
  })
}
