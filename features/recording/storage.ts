import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { unavailable } from 'flylive-audio-server/feature'
import type { BlobInfo, Blobs, ByteRange, FeatureInstance } from 'flylive-audio-server/feature'
import type { Recording } from './recorder.ts'
import { idPattern, manifestName, parseRecord } from './records.ts'
import type { RecordingRecord } from './records.ts'
import { timelineName } from './thread-recording.ts'

declare module 'flylive-audio-server/feature' {
  interface ClusterRequests {
    /**
     * Reads a part of a recording's file from the disk of the server that receives the request. `data` is base64, or
     * null if the file does not exist.
     */
    'recording:read': { data: { recordingId: string, name: string, first: number, last: number }, reply: { data: string | null } }
    /**
     * Stops the steps of a recording on the server that receives the request, and deletes the recording from that
     * server's disk.
     */
    'recording:delete': { data: { recordingId: string }, reply: true }
  }
}

/** Maximum size of an uploaded part of a file, in bytes. */
const maxPartBytes = 8 * 1024 * 1024
/** Maximum number of bytes per request when a file is read from another server's disk. */
const remoteBytes = 256 * 1024
const askMs = 10_000

/**
 * Reads, uploads and deletes the files of recordings, which are on this server's disk, on another server's disk, or in
 * the S3 bucket.
 */
export interface Storage {
  readonly hasBucket: boolean
  /** @returns the folder of a recording on this server */
  folderOf (recordingId: string): string
  /**
   * @returns the ids of the recordings that have a folder on this server
   * @throws a file system error
   */
  localIds (): Promise<string[]>
  isLocal (recordingId: string): Promise<boolean>
  /**
   * Reads a part of a recording's file.
   *
   * @returns the requested bytes; undefined if the file does not exist
   * @throws UNAVAILABLE if the server that stores the file cannot be reached
   */
  read (record: RecordingRecord, name: string, range: ByteRange): Promise<Readable | undefined>
  /**
   * Uploads the bytes that were added to a running recording's files since the last upload.
   *
   * @throws an upload error. The next call retries
   */
  uploadParts (recording: Recording): Promise<void>
  /** @returns true if the bucket contains parts of the recording */
  hasParts (recordingId: string): Promise<boolean>
  /**
   * Downloads the uploaded parts of a recording to this server. The recording's folder appears only when the download is
   * complete.
   *
   * @returns true if the bucket contains parts of the recording
   * @throws a download error
   */
  downloadParts (recordingId: string): Promise<boolean>
  /** @returns the ids of the recordings with an incomplete download on this server */
  downloadIds (): Promise<string[]>
  /** Deletes an incomplete download from this server. */
  deleteDownload (recordingId: string): Promise<void>
  /** Uploads a finished recording's files, then deletes them from this server. Idempotent. */
  upload (record: RecordingRecord, stored: () => Promise<void>): Promise<void>
  /**
   * @returns the ids of the recordings in the bucket. `unfinished` contains the recordings that exist only as parts;
   *   `modifiedAt` is the time at which the latest part was uploaded
   */
  bucketIds (): Promise<{ finished: string[], unfinished: { recordingId: string, modifiedAt: number }[] }>
  /**
   * @param isFinished true if the complete files were uploaded, false if only parts were uploaded
   * @returns the record that was uploaded with the files, if there is one
   */
  bucketRecord (recordingId: string, isFinished: boolean): Promise<RecordingRecord | undefined>
  /** Deletes a recording's files from this server's disk. Idempotent. */
  deleteHere (recordingId: string): Promise<void>
  /**
   * Deletes a recording's files. Idempotent.
   *
   * @param holder the id of the server that is finishing or uploading the recording; undefined if there is none
   * @throws UNAVAILABLE if the server that stores the files, or `holder`, cannot be reached
   */
  delete (record: RecordingRecord, holder: string | undefined): Promise<void>
}

const isMissing = (error: unknown) => ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')
const prefixOf = (recordingId: string) => `recordings/${recordingId}`
const offset = (bytes: number) => String(bytes).padStart(15, '0')
const partsOf = (recordingId: string) => `recordings-parts/${recordingId}`
/** Suffix of the name of the folder to which the server downloads the parts of a recording. */
const downloadSuffix = '.download'

/** @param bucket if undefined, recordings stay on disk */
export function createStorage ({ cluster, config, nodeId }: Pick<FeatureInstance, 'cluster' | 'config' | 'nodeId'>, bucket: Blobs | undefined): Storage {
  const root = join(config.DATA_DIR, 'recordings')
  const folderOf = (recordingId: string) => join(root, recordingId)
  const downloadOf = (recordingId: string) => `${folderOf(recordingId)}${downloadSuffix}`
  const isLocal = async (recordingId: string) => await stat(folderOf(recordingId)).then(() => true, (error: unknown) => {
    if (isMissing(error)) return false
    throw error
  })

  /** @returns the names of the folders of recordings and downloads */
  const foldersHere = async () => await readdir(root).catch((error: unknown) => {
    if (isMissing(error)) return []
    throw error
  })

  async function readHere (recordingId: string, name: string, { first, last }: ByteRange): Promise<Readable | undefined> {
    try {
      const file = await open(join(folderOf(recordingId), name))
      return last < first ? (await file.close(), Readable.from([])) : file.createReadStream({ start: first, end: last })
    } catch (error) {
      if (isMissing(error)) return
      throw error
    }
  }

  async function deleteParts (recordingId: string): Promise<void> {
    for (const { key } of await bucket?.list(partsOf(recordingId)) ?? []) await bucket?.delete(key)
  }

  const deleteHere = async (recordingId: string) => await rm(folderOf(recordingId), { recursive: true, force: true })

  async function * readThere ({ nodeId: other, recordingId }: RecordingRecord, name: string, { first, last }: ByteRange): AsyncGenerator<Buffer, void, undefined> {
    for (let at = first; at <= last;) {
      const { data } = await cluster.ask(other, 'recording:read', { recordingId, name, first: at, last: Math.min(last, at + remoteBytes - 1) }, askMs)
      if (data === null) throw unavailable(`The server that stores recording ${recordingId} cannot read ${name}`)
      const chunk = Buffer.from(data, 'base64')
      if (chunk.length === 0) return
      at += chunk.length
      yield chunk
    }
  }

  cluster.answer('recording:read', async ({ recordingId, name, first, last }) => {
    // The caller takes the file name from the index. Check the name anyway, because a name with a slash could point
    // outside the recording's folder.
    const stream = idPattern.test(recordingId) && !name.includes('/') ? await readHere(recordingId, name, { first, last }) : undefined
    return { data: stream ? Buffer.concat(await stream.toArray() as Buffer[]).toString('base64') : null }
  })

  return {
    hasBucket: bucket !== undefined,
    folderOf,
    localIds: async () => (await foldersHere()).filter((name) => idPattern.test(name)),
    isLocal,
    async read (record, name, range) {
      const here = await isLocal(record.recordingId) ? await readHere(record.recordingId, name, range) : undefined
      if (here) return here
      if (record.stored === 'bucket' && !bucket) throw unavailable('The recording is in an S3 bucket, but RECORDING_S3_URL is not set')
      // If this server has no files, an upload may have just finished and deleted them.
      if (bucket && (record.stored === 'bucket' || record.nodeId === nodeId)) {
        if (range.last < range.first) return Readable.from([])
        return await bucket.get(`${prefixOf(record.recordingId)}/${name}`, range)
      }
      if (record.nodeId === nodeId) return
      // Read the first part before the HTTP reply begins, so that the reply can still be an error.
      const parts = readThere(record, name, range)
      const first = await parts.next()
      if (first.done) return Readable.from([])
      return Readable.from((async function * () {
        yield first.value
        yield * parts
      })())
    },
    async uploadParts (recording) {
      if (!bucket) return
      const { id, folder, files, record, timelineBytes, uploaded } = recording
      // Upload the record first and after each new file, so that the index can be repaired from the uploaded record.
      if (uploaded.get(manifestName) !== files.length) {
        await bucket.put(`${partsOf(id)}/${manifestName}/${offset(0)}`, Readable.from([Buffer.from(JSON.stringify({ ...record, files }))]))
        uploaded.set(manifestName, files.length)
      }
      for (const { name, bytes } of [...files, { name: timelineName, bytes: timelineBytes }]) {
        for (let from = uploaded.get(name) ?? 0; from < bytes;) {
          // Once a recording ends, `upload` uploads the complete files, so the remaining parts are not needed.
          if (recording.isClosing) return
          const end = Math.min(bytes, from + maxPartBytes)
          await bucket.put(`${partsOf(id)}/${name}/${offset(from)}`, createReadStream(join(folder, name), { start: from, end: end - 1 }))
          uploaded.set(name, end)
          from = end
        }
      }
    },
    hasParts: async (recordingId) => (await bucket?.list(partsOf(recordingId)) ?? []).length > 0,
    async downloadParts (recordingId) {
      const parts = await bucket?.list(partsOf(recordingId)) ?? []
      if (!bucket || parts.length === 0) return false
      const ends = new Map<string, number>()
      const folder = downloadOf(recordingId)
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder, { recursive: true })
      const download = async ({ key, bytes }: BlobInfo) => {
        const [name = '', at = ''] = key.split('/').slice(2)
        // If a part is missing, the later parts of the same file cannot be used.
        if (Number(at) !== (ends.get(name) ?? 0)) return
        const stream = await bucket.get(key)
        if (!stream) throw new Error(`The bucket no longer contains ${key}`)
        await pipeline(stream, createWriteStream(join(folder, name), { flags: Number(at) === 0 ? 'w' : 'a' }))
        ends.set(name, Number(at) + bytes)
      }
      try {
        for (const part of parts) await download(part)
        for (const [name, bytes] of ends) if ((await stat(join(folder, name))).size !== bytes) throw new Error(`The download of ${name} is incomplete`)
        await rename(folder, folderOf(recordingId))
      } catch (error) {
        await rm(folder, { recursive: true, force: true })
        throw error
      }
      return true
    },
    downloadIds: async () => (await foldersHere()).filter((name) => name.endsWith(downloadSuffix)).map((name) => name.slice(0, -downloadSuffix.length)),
    deleteDownload: async (recordingId) => await rm(downloadOf(recordingId), { recursive: true, force: true }),
    async upload (record, stored) {
      const folder = folderOf(record.recordingId)
      if (!bucket || !await isLocal(record.recordingId)) return
      const names = (await readdir(folder)).filter((name) => record.files.some((file) => file.name === name) || name === timelineName)
      for (const name of names) {
        // Some S3 services do not accept empty objects.
        if ((await stat(join(folder, name))).size > 0) await bucket.put(`${prefixOf(record.recordingId)}/${name}`, createReadStream(join(folder, name)))
      }
      await bucket.put(`${prefixOf(record.recordingId)}/${manifestName}`, Readable.from([Buffer.from(JSON.stringify(record))]))
      await stored()
      await deleteParts(record.recordingId)
      await deleteHere(record.recordingId)
    },
    async bucketIds () {
      const finished = (await bucket?.list('recordings') ?? []).flatMap(({ key }) => {
        const [, recordingId = '', name] = key.split('/')
        return name === manifestName && idPattern.test(recordingId) ? recordingId : []
      })
      const modified = new Map<string, number>()
      for (const { key, modifiedAt } of await bucket?.list('recordings-parts') ?? []) {
        const [, recordingId = ''] = key.split('/')
        if (idPattern.test(recordingId)) modified.set(recordingId, Math.max(modified.get(recordingId) ?? 0, modifiedAt))
      }
      // Ignore the parts of finished recordings, because these parts are about to be deleted.
      for (const recordingId of finished) modified.delete(recordingId)
      return { finished, unfinished: [...modified].map(([recordingId, modifiedAt]) => ({ recordingId, modifiedAt })) }
    },
    async bucketRecord (recordingId, isFinished) {
      const stream = await bucket?.get(isFinished ? `${prefixOf(recordingId)}/${manifestName}` : `${partsOf(recordingId)}/${manifestName}/${offset(0)}`)
      return stream && parseRecord(await text(stream))
    },
    deleteHere,
    async delete (record, holder) {
      const { recordingId, stored, nodeId: owner } = record
      const others = new Set([holder, stored === 'server' && !await isLocal(recordingId) ? owner : undefined])
      // The other servers come first, because a server that is uploading the recording would store it in the bucket again.
      for (const other of others) if (other !== undefined && other !== nodeId) await cluster.ask(other, 'recording:delete', { recordingId }, askMs)
      if (bucket) {
        for (const { key } of await bucket.list(prefixOf(recordingId))) await bucket.delete(key)
        await deleteParts(recordingId)
      }
      await deleteHere(recordingId)
    }
  }
}
