import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { userId, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { reason } from './messages.ts'

export const recordedFile = z.object({
  name: z.string(),
  kind: z.enum(['mix', 'voice']),
  userId: userId.optional().describe('The speaker; only for voices'),
  source: z.enum(['voice', 'music']).optional().describe('Only for voices'),
  bytes: z.int(),
  seconds: z.number()
})

export const recordingRecord = z.object({
  recordingId: z.string(),
  roomId: z.string(),
  startedBy: userId,
  /** Epoch milliseconds. */
  startedAt: z.number(),
  endedAt: z.number().optional(),
  reason: reason.optional(),
  /**
   * Present if the recording has ended, but the room's members or the handlers of `recording:finished` may not have been
   * notified yet.
   */
  unfinished: z.literal(true).optional(),
  /** The id of the server whose disk has the files, unless the files are in the bucket. */
  nodeId: z.string(),
  stored: z.enum(['server', 'bucket']),
  tracks: z.boolean(),
  /**
   * If this recording continues another recording, the id of that recording. Another server continues a recording if
   * the recording's server stops, dies or no longer has members in the room.
   */
  continues: z.string().optional(),
  files: z.array(recordedFile)
})
export type RecordingRecord = z.output<typeof recordingRecord>

/** The pattern of a recording's id: a UUIDv7, so that ids sort by time. */
export const idPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/
/** Name of the file in the recording's folder that contains the record. */
export const manifestName = 'recording.json'

/** The index of the recordings of all servers. All methods throw UNAVAILABLE while the store cannot be reached. */
export interface RecordIndex {
  get (recordingId: string): Promise<RecordingRecord | undefined>
  put (record: RecordingRecord): Promise<void>
  delete (recordingId: string): Promise<void>
  /** @returns all ids, newest first */
  ids (): Promise<string[]>
  /** @returns the records that exist, in the order of `ids` */
  getMany (ids: readonly string[]): Promise<RecordingRecord[]>
}

/** @throws if the text is not a record */
export const parseRecord = (text: string): RecordingRecord => recordingRecord.parse(JSON.parse(text))
const parse = (text: string | undefined) => text === undefined ? undefined : parseRecord(text)

export function createRecordIndex ({ kv }: Pick<FeatureInstance, 'kv'>): RecordIndex {
  const records = kv.namespace('recording-index')
  return {
    get: async (recordingId) => parse(await records.get(recordingId)),
    put: async (record) => await records.set(record.recordingId, JSON.stringify(record)),
    async delete (recordingId) {
      await records.delete(recordingId)
    },
    ids: async () => (await records.list()).sort().reverse(),
    getMany: async (ids) => (await records.getMany(ids)).flatMap((text) => parse(text) ?? [])
  }
}

/**
 * Writes the record to the recording's folder, so that the index can be repaired from this copy. The write is atomic.
 */
export async function writeManifest (folder: string, record: RecordingRecord): Promise<void> {
  const path = join(folder, manifestName)
  await writeFile(`${path}.new`, JSON.stringify(record), { flush: true })
  await rename(`${path}.new`, path)
}

/** @returns the record in the folder's manifest; undefined if the folder has no valid manifest */
export async function readManifest (folder: string): Promise<RecordingRecord | undefined> {
  try {
    return parse(await readFile(join(folder, manifestName), 'utf8'))
  } catch {
    return undefined
  }
}
