import type { Blobs } from './blobs.ts'
import type { S3Options } from './s3.ts'

export type { S3Options } from './s3.ts'

/** @returns the blobs in an S3 bucket. No request is sent, so the bucket need not be available. */
export async function openBucket (options: S3Options): Promise<Blobs> {
  const { createS3Blobs } = await import('./s3.ts')
  return createS3Blobs(options)
}
