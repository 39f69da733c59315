import type { FastifyInstance } from 'fastify'

/**
 * Reads JSON bodies as Fastify does, but takes an empty one for none: many HTTP
 * clients name a content type with every call. The kernel and every feature's
 * child instance use it.
 *
 * @param app the instance, before its routes
 */
export function useJsonBodies (app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parse(request, body, done)
  })
}
