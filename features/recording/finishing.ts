import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isCoded, unavailable } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { createContinuation } from './continuation.ts'
import type { Predecessor } from './continuation.ts'
import { createIndexRepair } from './index-repair.ts'
import { reason as endReason } from './messages.ts'
import type { EndReason } from './messages.ts'
import type { Recorder, Recording } from './recorder.ts'
import { readManifest, writeManifest } from './records.ts'
import type { RecordIndex, RecordingRecord } from './records.ts'
import { complete } from './repair.ts'
import { idleState, stoppedEvent } from './room-state.ts'
import type { RecordingStateHandle } from './room-state.ts'
import { leaseMs } from './steps.ts'
import type { Steps } from './steps.ts'
import type { Storage } from './storage.ts'
import type { RecordedFile } from './thread-messages.ts'

declare module 'flylive-audio-server/feature' {
  interface ClusterRequests {
    /**
     * Asks a server whether it still records, finishes or uploads a recording. If so, the server renews its lease. The
     * lease may have expired while Redis was unavailable.
     */
    'recording:renew': { data: { recordingId: string }, reply: boolean }
  }
  interface FeatureHooks {
    /**
     * Called on the server that finished a recording, when the recording has ended and its files are complete. If a
     * handler fails, or the server dies before the handlers finish, the hook is called again.
     */
    'recording:finished': (roomId: string, record: Readonly<RecordingRecord>) => void | Promise<void>
  }
}

/** Finishes the recordings that have ended on this server, and the recordings of servers that have died. */
export interface Finishing {
  /** Finishes and uploads a recording that has ended on this server. Repeats the steps until they succeed. */
  ended (recording: Recording): Promise<void>
  /**
   * Watches a recording until it is complete. If no server works on the recording any more, a server takes it over.
   *
   * @throws UNAVAILABLE
   */
  watch (recordingId: string): Promise<void>
  /**
   * Looks for recordings that an earlier process left on this server's disk, and repairs the index. Does nothing if there
   * is nothing left to look for. Called every `renewMs`.
   */
  review (): void
  /** Makes the next {@link review} look for this recording on this server's disk. */
  reviewLater (recordingId: string): void
  /** Makes the next {@link review} check whether the index is complete. */
  reviewIndex (): void
  /** Resolves when no review is running. */
  settled (): Promise<void>
}

export interface FinishingOptions {
  state: RecordingStateHandle
  index: RecordIndex
  recorder: Recorder
  storage: Storage
  steps: Steps
  /** Called when a step has failed. */
  failures: { inc (): void }
  /** Continues another server's recording on this server. Resolves to true if this server records the room. */
  continueHere (predecessor: Predecessor): Promise<boolean>
  /** True once the server may have unloaded the features that handle `recording:finished`. */
  isUnloading (): boolean
}

/** How often a job checks the lease of a running recording, in milliseconds. */
const watchMs = 2000
/** After this time without uploads, in milliseconds, the server of an unfinished recording counts as dead. */
const quietMs = 2 * leaseMs
/** Maximum wait for the reply of a recording's server before another server takes over, in milliseconds. */
const renewAskMs = 1000
const watchJob = 'recording-watch'

export const isDiskFull = (error: unknown) => ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
/** @returns the duration of all files together, in seconds */
const secondsOf = (files: readonly RecordedFile[]) => files.reduce((sum, { seconds }) => sum + seconds, 0)

export function createFinishing (app: FeatureInstance, { state, index, recorder, storage, steps, failures, continueHere, isUnloading }: FinishingOptions): Finishing {
  const { clock, cluster, drain, hooks, jobs, log, metrics, nodeId } = app
  const ended = metrics.counter('flylive_recordings_total', 'Ended recordings, by reason (stopped: the owner or an admin ended the recording)', ['reason'])
  // Start the counter at 0, because an alert does not count the first value of a series as an increase.
  for (const why of ['stopped', ...endReason.options]) ended.inc({ reason: why }, 0)
  const bytes = metrics.counter('flylive_recording_bytes_total', 'Total file size of ended recordings, in bytes')
  const continueElsewhere = createContinuation(app, continueHere)

  /** Whether no server has to do anything more for the recording. */
  const isComplete = (record: RecordingRecord) => record.endedAt !== undefined && record.unfinished === undefined && (!storage.hasBucket || record.stored === 'bucket' || record.files.length === 0)

  /**
   * Removes the recording from the room's state and notifies the members.
   *
   * @throws UNAVAILABLE
   */
  async function clear (roomId: string, recordingId: string, reason?: EndReason): Promise<void> {
    try {
      await state.change(roomId, (current) => current?.current?.recordingId === recordingId
        ? { state: idleState(reason === undefined ? current.ended : { recordingId, reason }), events: [stoppedEvent(recordingId, reason)], result: undefined }
        : { result: undefined })
    } catch (error) {
      if (!isCoded(error) || error.code !== 'ROOM_NOT_FOUND') throw error
    }
  }

  /**
   * If a recording has ended for a reason that allows a continuation, asks the servers with members of the room to
   * continue the recording.
   *
   * @returns true if the room is still being recorded
   * @throws UNAVAILABLE
   */
  async function handOver (record: RecordingRecord, reason: EndReason | undefined): Promise<boolean> {
    const mayContinue = reason === 'room_closed' || reason === 'server_lost' || (reason === 'server_stopped' && drain.draining)
    if (!mayContinue) return false
    /** Resolves to undefined if a host stopped the recording. */
    const currentId = async () => (await state.read(record.roomId))?.current?.recordingId
    if (await currentId() === record.recordingId && await continueElsewhere(record, reason === 'room_closed' ? 'moved' : reason)) return true
    // A server may have continued the recording but replied too late.
    return ![undefined, record.recordingId].includes(await currentId())
  }

  /** Completes the files in a recording's folder and deletes empty files. A missing folder counts as an empty folder. */
  async function completeFiles (folder: string, known: readonly RecordedFile[]): Promise<RecordedFile[]> {
    const names = (await readdir(folder).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      return []
    })).filter((name) => name.endsWith('.mp4')).sort()
    const files: RecordedFile[] = []
    for (const name of names) {
      // The file of the mix comes first, because the voice files are extended to the duration of the mix.
      const extent = await complete(join(folder, name), files[0]?.kind === 'mix' ? files[0].seconds : 0)
      if (extent.bytes === 0) await rm(join(folder, name))
      else files.push({ kind: name === 'mix.mp4' ? 'mix' : 'voice', ...known.find((file) => file.name === name), name, ...extent })
    }
    return files
  }

  /**
   * Finishes a recording whose files are on this server. Each step can be repeated: if the server dies during a step,
   * this server finishes the recording after a restart, or another server finishes it when the lease has expired.
   *
   * @returns the finished record, whose files can be uploaded; undefined if there are no files to upload
   */
  async function finish (record: RecordingRecord, reason: EndReason | undefined): Promise<RecordingRecord | undefined> {
    const { recordingId, roomId } = record
    const isContinued = await handOver(record, reason)
    if (isContinued && reason === 'room_closed') reason = 'moved'
    // Notify the members first, because the next steps fail while the disk is full.
    await clear(roomId, recordingId, reason)
    const folder = storage.folderOf(recordingId)
    const files = await completeFiles(folder, record.files)
    // Another server may have finished the recording from its uploaded parts. The copy with more audio is kept. The index
    // refers to the copy in the bucket until a better copy is uploaded.
    const other = await index.get(recordingId)
    const isInBucket = storage.hasBucket && other?.stored === 'bucket'
    if (isInBucket && secondsOf(other.files) >= secondsOf(files)) {
      await rm(folder, { recursive: true, force: true })
      return
    }
    const seconds = Math.max(0, ...files.map((file) => file.seconds))
    const { unfinished: _, ...rest } = record
    const done: RecordingRecord = {
      ...rest,
      nodeId,
      stored: 'server',
      files,
      endedAt: record.endedAt ?? (reason === 'server_lost' ? Math.round(record.startedAt + seconds * 1000) : clock.now()),
      ...(reason === undefined ? {} : { reason })
    }
    if (files.length > 0) {
      if (!isInBucket) await index.put({ ...done, unfinished: true })
      // The next start of this server, or another server, calls the hook.
      if (isUnloading()) throw unavailable('The server is unloading its features')
      await hooks.ask('recording:finished', roomId, done)
      // Until the manifest contains `endedAt` without `unfinished`, a restarted server finishes the recording again.
      await writeManifest(folder, done).catch((err: unknown) => {
        if (!isDiskFull(err)) throw err
        log.warn({ err, recordingId }, 'the disk is too full for the record of an ended recording')
      })
      if (!isInBucket) await index.put(done)
    } else if (reason === 'server_lost' || secondsOf(record.files) > 0) await index.put(done)
    // If nothing was recorded, remove the record. After a crash, keep even an empty record, because a host has received
    // the recording's id in the reply to recording:start.
    else await index.delete(recordingId)
    ended.inc({ reason: reason ?? 'stopped' })
    bytes.inc(files.reduce((sum, file) => sum + file.bytes, 0))
    log.info({ recordingId, roomId, seconds, reason }, 'recording finished')
    if (files.length > 0) return done
    await rm(folder, { recursive: true, force: true })
  }

  async function upload (record: RecordingRecord): Promise<void> {
    if (!storage.hasBucket) return
    const { recordingId } = record
    const other = await index.get(recordingId)
    // Another server may have uploaded a copy with more audio.
    if (other?.stored === 'bucket' && secondsOf(other.files) > secondsOf(record.files)) return await rm(storage.folderOf(recordingId), { recursive: true, force: true })
    const stored: RecordingRecord = { ...record, stored: 'bucket' }
    await storage.upload(stored, async () => {
      if (!await steps.renew(recordingId)) throw unavailable('Another server is finishing the recording')
      await index.put(stored)
    })
  }

  /**
   * Finishes a recording whose server has died, or that an earlier process left on this server's disk.
   *
   * @throws UNAVAILABLE, for example because another server is finishing the recording, and any error of the disk or the
   *   bucket
   */
  async function takeOver (recordingId: string): Promise<void> {
    if (recorder.get(recordingId) || steps.isUnfinished(recordingId)) return
    const done = await steps.whileHolding(recordingId, async () => await finishLost(recordingId))
    if (done) steps.retry(recordingId, async () => await upload(done))
    else await steps.release(recordingId)
  }

  async function finishLost (recordingId: string): Promise<RecordingRecord | undefined> {
    const folder = storage.folderOf(recordingId)
    const isLocal = await storage.isLocal(recordingId)
    // Read the record only now that this server holds the lease, because another server may have just finished the
    // recording.
    const [stored, manifest] = [await index.get(recordingId), isLocal ? await readManifest(folder) : undefined]
    // If the server failed to store the end of the recording, only the manifest contains the end.
    const found = stored?.endedAt === undefined && manifest?.endedAt !== undefined ? manifest : stored ?? manifest
    if (!found || (!isLocal && isComplete(found))) return
    const { endedAt, unfinished: isUnfinished, ...record } = found
    // The server may have died after it had stored the end of the recording. The end then stays the same. Otherwise, the
    // recording ends with its last audio.
    const reason = endedAt === undefined ? 'server_lost' : record.reason
    const end = endedAt === undefined || reason === 'server_lost' ? {} : { endedAt }
    // Hand over first, so that another server records the room soon: the download may take a long time.
    if (endedAt === undefined) await handOver(record, reason)
    if (isLocal || await storage.downloadParts(recordingId)) {
      const local = await readManifest(folder)
      return await finish({ ...record, ...end, files: local && local.files.length > record.files.length ? local.files : record.files }, reason)
    }
    // The files are on the dead server's disk. That server completes and uploads the files after its restart.
    if (endedAt !== undefined && isUnfinished === undefined) return
    const done: RecordingRecord = { ...record, endedAt: endedAt ?? clock.now(), ...(reason === undefined ? {} : { reason }) }
    await clear(record.roomId, recordingId, reason)
    if (endedAt !== undefined) await hooks.ask('recording:finished', record.roomId, done)
    await index.put(done)
  }

  cluster.answer('recording:renew', async ({ recordingId }) => {
    const isHere = recorder.get(recordingId) !== undefined || steps.isUnfinished(recordingId) || steps.isRunning(recordingId)
    return isHere && await steps.renew(recordingId)
  })

  /** Whether the recording's server, which has no lease, still works on the recording. */
  async function isAlive ({ recordingId, nodeId: server }: RecordingRecord): Promise<boolean> {
    return server !== nodeId && await cluster.ask(server, 'recording:renew', { recordingId }, renewAskMs).catch(() => false)
  }

  jobs.on(watchJob, async (recordingId) => {
    const record = await index.get(recordingId)
    if (!record || isComplete(record)) return
    if (await steps.holderOf(recordingId) === undefined && !steps.isRunning(recordingId)) {
      // If the recording has ended and the bucket has no parts, only the dead server can upload the files.
      if (record.endedAt !== undefined && record.unfinished === undefined && !await storage.hasParts(recordingId)) return
      if (!await isAlive(record)) {
        // The job does not wait, because a download may take longer than a job may run. If the download fails, the lease
        // expires, and the job tries again on any server.
        takeOver(recordingId).catch((err: unknown) => {
          failures.inc()
          log.warn({ err, recordingId }, 'failed to take over a recording, will retry')
        })
      }
    }
    await jobs.schedule(watchJob, recordingId, clock.now() + watchMs)
  })

  /**
   * Ids of recordings that an earlier process left on this server's disk; undefined until the disk has been searched.
   */
  let left: Set<string> | undefined

  /** Finishes the recordings that an earlier process left on this server's disk, and repairs the index. */
  async function recover (): Promise<void> {
    if (!left) {
      left = new Set(await storage.localIds())
      for (const recordingId of await storage.downloadIds()) if (!steps.isRunning(recordingId) && await steps.holderOf(recordingId) === undefined) await storage.deleteDownload(recordingId)
    }
    const ids = left
    for (const recordingId of ids) {
      // The recording may still be starting, or the previous generation of the feature may be finishing it.
      if (steps.isRunning(recordingId)) continue
      // The recording may belong to another running server that uses the same DATA_DIR, or another server may be
      // finishing it.
      if (![undefined, nodeId].includes(await steps.holderOf(recordingId))) continue
      try {
        if (!recorder.get(recordingId) && !steps.isUnfinished(recordingId)) await restore(recordingId)
        ids.delete(recordingId)
      } catch (err) {
        log[isCoded(err) ? 'debug' : 'error']({ err, recordingId }, 'failed to recover a recording')
      }
    }
  }

  /** Finishes a recording that an earlier process left on this server's disk, or adds the recording to the index. */
  async function restore (recordingId: string): Promise<void> {
    const manifest = await readManifest(storage.folderOf(recordingId))
    if (manifest?.endedAt === undefined || manifest.unfinished !== undefined) return await takeOver(recordingId)
    const { roomId, reason } = manifest
    const record = await index.get(recordingId)
    const isInBucket = storage.hasBucket && record?.stored === 'bucket'
    if (!isInBucket && (record?.nodeId !== nodeId || record.unfinished !== undefined || record.stored !== manifest.stored)) await index.put({ ...manifest, nodeId, stored: 'server' })
    if ((await state.read(roomId))?.current?.recordingId === recordingId) await clear(roomId, recordingId, reason)
    if (storage.hasBucket) steps.retry(recordingId, async () => await upload({ ...manifest, nodeId }))
  }

  const repairIndex = createIndexRepair(app, {
    index,
    storage,
    quietMs,
    finish: async ({ recordingId }) => await jobs.schedule(watchJob, recordingId, clock.now()),
    lost: () => { left = undefined }
  })
  let isIndexComplete = false
  let repairAt = 0

  /** Repairs the index of recordings if the store has lost the index. */
  async function reviewIndex (): Promise<void> {
    if (performance.now() < repairAt) return
    repairAt = performance.now() + leaseMs
    isIndexComplete = await repairIndex()
  }

  const failed = (message: string) => (err: unknown) => log[isCoded(err) ? 'debug' : 'error']({ err }, message)
  let reviewing = Promise.resolve()

  return {
    async ended ({ id, record, files, endedAt = clock.now(), reason, uploading }) {
      await steps.retry(id, async () => {
        const last: RecordingRecord = { ...record, files, endedAt, ...(reason === undefined ? {} : { reason }) }
        // If the next steps fail before the end is stored, a new generation of the feature or a restarted server reads the
        // end from the manifest.
        await writeManifest(storage.folderOf(id), { ...last, unfinished: true }).catch((err: unknown) => log.debug({ err, recordingId: id }, 'failed to write the end of a recording to its record'))
        const done = await finish(last, reason)
        if (!done) return
        steps.retry(id, async () => {
          await uploading
          await upload(done)
        })
      })
    },
    watch: async (recordingId) => await jobs.schedule(watchJob, recordingId, clock.now() + leaseMs),
    review () {
      if (!left || left.size > 0) reviewing = reviewing.then(recover).catch(failed('failed to recover recordings'))
      if (!isIndexComplete) reviewing = reviewing.then(reviewIndex).catch(failed('failed to repair the index of recordings'))
    },
    reviewLater (recordingId) {
      left?.add(recordingId)
    },
    reviewIndex () {
      isIndexComplete = false
    },
    settled: async () => await reviewing
  }
}
