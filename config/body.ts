import type { FastifyInstance } from 'fastify'

/**
 * Parses JSON bodies like Fastify, but accepts an empty body as none: many HTTP
 * clients send a content type with every request. The kernel and each feature's
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
