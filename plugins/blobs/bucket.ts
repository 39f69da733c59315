import type { Blobs } from './blobs.ts'
import type { S3Options } from './s3.ts'

export type { S3Options } from './s3.ts'

/** Opens an S3 bucket as a blob store. Sends no request, so the bucket need not be available yet. */
export async function openBucket (options: S3Options): Promise<Blobs> {
  const { createS3Blobs } = await import('./s3.ts')
  return createS3Blobs(options)
}
