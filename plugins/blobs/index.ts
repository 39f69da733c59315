import { join } from 'node:path'
import fp from 'fastify-plugin'
import type { Config } from '../../config/load.ts'
import type { Blobs } from './blobs.ts'
import { openBucket } from './bucket.ts'
import { createFolderBlobs } from './folder.ts'

declare module 'fastify' {
  interface FastifyInstance {
    blobs: Blobs
  }
}

/** Stores blobs: as objects in an S3 bucket if one is configured, otherwise as files in DATA_DIR. */
export default fp(async function blobs (app) {
  const blobs = await create(app.config)
  app.decorate('blobs', blobs)
  const { BLOBS_S3_URL: url } = app.config
  if (url !== undefined) {
    // The server does not wait for this check, because rooms work without blobs, and the bucket may be created later.
    app.addHook('onReady', async () => {
      blobs.list('startup-check').catch((err: unknown) => { app.log.error({ err, url }, 'the S3 bucket is unavailable: the server cannot store blobs') })
    })
  }
}, { name: 'blobs', dependencies: ['config'] })

async function create (config: Config): Promise<Blobs> {
  const { BLOBS_S3_URL: url, BLOBS_S3_REGION: region, BLOBS_S3_ACCESS_KEY_ID: accessKeyId = '', BLOBS_S3_SECRET_ACCESS_KEY: secretAccessKey = '' } = config
  if (url !== undefined) {
    return await openBucket({ url, region, accessKeyId, secretAccessKey })
  }
  const folder = createFolderBlobs(join(config.DATA_DIR, 'blobs'))
  await folder.removeUnfinished()
  return folder
}
