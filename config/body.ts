import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { ValidationFailed } from '../plugins/errors/codes.ts'
import { jsonLimitExceeded } from '../plugins/schema/json-limits.ts'

/** Maximum size of a request body, in bytes. Larger bodies are rejected. A route may set its own `bodyLimit`. */
export const bodyLimit = 65_536

/**
 * Parses JSON bodies as Fastify does, with two differences. First, a request whose body is empty is treated like a
 * request without a body, because many HTTP clients send a content type even without a body. This also applies to an
 * empty form, and to an empty array if the route's body is optional: Laravel's `Http::post($url)` sends `[]`. Second, a
 * body with too many values or too deeply nested values is rejected before it is parsed. Must be called for the kernel's
 * Fastify instance and for the child instance of each feature.
 *
 * @param app the Fastify instance, whose routes must be registered after this call
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
  app.addHook('onRequest', (request, _reply, done) => {
    const { headers } = request
    if (headers['content-length'] === '0' && /^application\/x-www-form-urlencoded\b/i.test(headers['content-type'] ?? '')) delete headers['content-type']
    done()
  })
  app.addHook('preValidation', (request, _reply, done) => {
    if (Array.isArray(request.body) && request.body.length === 0 && mayBeOmitted(request)) request.body = undefined
    done()
  })
}

/** Whether the request's route accepts requests without a body, and no array as the body. */
function mayBeOmitted ({ routeOptions: { schema } }: FastifyRequest): boolean {
  const { safeParse } = (schema?.body ?? {}) as Partial<z.ZodType>
  return safeParse !== undefined && safeParse(undefined).success && !safeParse([]).success
}
