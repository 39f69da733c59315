import { join } from 'node:path'
import fp from 'fastify-plugin'
import type { Blobs } from './blobs.ts'
import { createFolderBlobs } from './folder.ts'

declare module 'fastify' {
  interface FastifyInstance {
    blobs: Blobs
  }
}

/** Large values by key, as files below DATA_DIR. */
export default fp(async function blobs (app) {
  const created = createFolderBlobs(join(app.config.DATA_DIR, 'blobs'))
  await created.removeUnfinished()
  app.decorate('blobs', created)
}, { name: 'blobs', dependencies: ['config'] })
