import { randomUUID } from 'node:crypto'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { RecordIndex, RecordingRecord } from './records.ts'
import type { Storage } from './storage.ts'

export interface IndexRepairOptions {
  index: RecordIndex
  storage: Storage
  /** After this time without uploads, in milliseconds, an unfinished recording in the bucket counts as lost. */
  quietMs: number
  /**
   * Finishes a lost recording from its parts in the bucket. Called after the recording's record is added to the index.
   */
  finish (record: RecordingRecord): Promise<void>
  /** Called if the mark has changed, which means that the store has lost the index. See {@link createIndexRepair}. */
  lost (): void
}

/** How long a server holds the repair lock, in milliseconds. */
const lockMs = 5000
const markName = 'complete'

/**
 * A mark in the store shows that the index is complete. If the store has lost its data, the mark is missing, and one
 * server adds the recordings in the bucket to the index again.
 *
 * @returns a function that repairs the index if the mark is missing. The function returns false if it must be called
 *   again soon, because another server is repairing the index or a recording may still be running. The function throws
 *   any error of the store or the bucket
 */
export function createIndexRepair ({ clock, cluster, kv, log }: FeatureInstance, { index, storage, quietMs, finish, lost }: IndexRepairOptions): () => Promise<boolean> {
  const marks = kv.namespace('recording-marks')
  let seen: string | undefined

  function learn (mark: string): void {
    if (seen !== undefined && seen !== mark) lost()
    seen = mark
  }

  async function add (recordingId: string, isFinished: boolean): Promise<void> {
    const record = await storage.bucketRecord(recordingId, isFinished).catch((err: unknown) => {
      if (!(err instanceof SyntaxError || (err as Error).name === 'ZodError')) throw err
      log.warn({ err, recordingId }, 'the bucket contains a recording with an invalid record')
    })
    if (!record) return
    await index.put(isFinished ? { ...record, stored: 'bucket' } : record)
    log.info({ recordingId }, 'a recording in the bucket was added to the index again')
    if (!isFinished) await finish(record)
  }

  /** @returns false if a recording in the bucket may still be running */
  async function repair (): Promise<boolean> {
    const { finished, unfinished } = await storage.bucketIds()
    const known = new Set(await index.ids())
    for (const recordingId of finished) if (!known.has(recordingId)) await add(recordingId, true)
    const rest = unfinished.filter(({ recordingId }) => !known.has(recordingId))
    for (const { recordingId, modifiedAt } of rest) if (clock.now() - modifiedAt > quietMs) await add(recordingId, false)
    return rest.every(({ modifiedAt }) => clock.now() - modifiedAt > quietMs)
  }

  return async () => {
    const mark = await marks.get(markName)
    if (mark !== undefined) {
      learn(mark)
      return true
    }
    if (storage.hasBucket && !(await cluster.tryLock('recording:repair', lockMs) && await repair())) return false
    const created = randomUUID()
    if (await marks.compareAndSet(markName, undefined, created)) learn(created)
    return true
  }
}
