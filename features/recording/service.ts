import { mkdir, readdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate, setTimeout as delay } from 'node:timers/promises'
import { Forbidden, isCoded, unavailable, userId, withDetails, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, Session, UserId } from 'flylive-audio-server/feature'
import { v7 as uuid } from 'uuid'
import type { config } from './config.ts'
import { createContinuation } from './continuation.ts'
import type { Predecessor } from './continuation.ts'
import { createIndexRepair } from './index-repair.ts'
import { NotRecording, RecordingActive, RecordingLimit, StorageFull } from './errors.ts'
import type { EndReason, events } from './messages.ts'
import type { Recorder, Recording } from './recorder.ts'
import { createRecordIndex, readManifest, writeManifest } from './records.ts'
import type { RecordIndex, RecordingRecord } from './records.ts'
import { complete } from './repair.ts'
import type { Storage } from './storage.ts'
import type { RecordedFile } from './thread-messages.ts'
import { createTimelineWriter } from './timeline-writer.ts'

/** The stored state of a room that is or was recorded. */
const recordingState = z.object({
  /** Absent while the room is not being recorded. */
  current: z.object({ recordingId: z.string(), by: userId }).optional()
})
type State = z.output<typeof recordingState>

declare module 'flylive-audio-server/feature' {
  interface FeatureHooks {
    /**
     * Called on the server that finished a recording, when the recording has ended and its files are complete. If a
     * handler fails, or the server dies before the handlers finish, the hook is called again.
     */
    'recording:finished': (roomId: string, record: Readonly<RecordingRecord>) => void | Promise<void>
  }
}

/** The recordings of all servers. */
export interface Recordings {
  readonly index: RecordIndex
  readonly storage: Storage
  /**
   * Starts a recording.
   *
   * @throws FORBIDDEN, RECORDING_LIMIT, STORAGE_FULL, OVERLOADED, UNAVAILABLE
   */
  start (room: LocalRoom, session: Session, tracks: boolean): Promise<{ recordingId: string }>
  /** @throws FORBIDDEN, NOT_RECORDING, UNAVAILABLE */
  stop (room: LocalRoom, session: Session): Promise<{ recordingId: string }>
  /**
   * Reads the room's state without a round trip to the store.
   *
   * @returns the id of the room's current recording; undefined if the room is not being recorded or has no members on
   *   this server
   */
  peek (roomId: string): string | undefined
  /**
   * @returns the recording's record, which contains the latest file sizes if the recording runs on this server
   * @throws UNAVAILABLE
   */
  find (recordingId: string): Promise<RecordingRecord | undefined>
  /** @returns the given record, updated with the latest file sizes if the recording runs on this server */
  current (record: RecordingRecord): RecordingRecord
  /** @throws RECORDING_ACTIVE, UNAVAILABLE */
  delete (record: RecordingRecord): Promise<void>
}

/** How often a server renews the leases of its running recordings, in milliseconds. */
const renewMs = 2000
/**
 * How long a lease lasts after its last renewal, in milliseconds. When the lease has expired, another server takes over
 * the recording.
 */
const leaseMs = 6000
/** How often a running recording's record is updated, in milliseconds. */
const saveMs = 10_000
/** How often a job checks the lease of a running recording, in milliseconds. */
const watchMs = 2000
/** After this time without uploads, in milliseconds, the server of an unfinished recording counts as dead. */
const quietMs = 2 * leaseMs
const retentionMs = 10 * 60_000
const dayMs = 24 * 60 * 60_000
/** Maximum wait for the end of all recordings before the server unloads its features, in milliseconds. */
const stopMs = 4000
const watchJob = 'recording-watch'

const isDiskFull = (error: unknown) => ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
/** @returns the duration of all files together, in seconds */
const secondsOf = (files: readonly RecordedFile[]) => files.reduce((sum, { seconds }) => sum + seconds, 0)

/** Waits until no step is running. */
export async function settled (steps: ReadonlyMap<string, Promise<void>>): Promise<void> {
  while (steps.size > 0) {
    await Promise.all(steps.values())
    // The end of a step may start the next step.
    await setImmediate()
  }
}

/**
 * @param steps the steps that are running on this server, such as the start, the end or the upload of a recording, by
 *   recording id. The steps survive reloads of the feature and never reject
 */
export function createRecordings (app: FeatureInstance, settings: z.output<typeof config>, recorder: Recorder, steps: Map<string, Promise<void>>, storage: Storage): Recordings {
  const { clock, drain, hooks, jobs, kv, log, metrics, nodeId, rooms, sfu } = app
  const state = rooms.roomState.define('recording', recordingState, { durable: true })
  const index = createRecordIndex(app)
  /** For each recording that is not complete, the id of the server that records, finishes or uploads the recording. */
  const leases = kv.namespace('recording-leases')
  const ended = metrics.counter('flylive_recordings_total', 'Ended recordings, by reason (stopped: the owner or an admin ended the recording)', ['reason'])
  const bytes = metrics.counter('flylive_recording_bytes_total', 'Total file size of ended recordings, in bytes')
  const active = metrics.gauge('flylive_recordings_active', 'Running recordings on this server')
  const uploadFailures = metrics.counter('flylive_recording_upload_failures_total', 'Failed attempts to finish a recording or to upload it to the S3 bucket. The server retries them')
  const waiting = metrics.gauge('flylive_recording_waiting', 'Ended recordings on this server whose files are not yet complete or not yet uploaded')
  /** For each ended recording on this server, the step that has not succeeded yet, by recording id. */
  const unfinished = new Map<string, () => Promise<void>>()
  const inFlight = new Map<string, Promise<void>>()
  let closed = false
  /** True once the server may have unloaded the features that handle `recording:finished`. */
  let isUnloading = false

  const minFreeBytes = settings.minFreeMb * 1024 * 1024
  const count = () => {
    active.set(recorder.rooms.size)
    waiting.set(unfinished.size)
  }

  /** Whether no server has to do anything more for the recording. */
  const isComplete = (record: RecordingRecord) => record.endedAt !== undefined && record.unfinished === undefined && (!storage.hasBucket || record.stored === 'bucket' || record.files.length === 0)

  /**
   * Takes or renews the lease of a recording.
   *
   * @returns false if another server holds the lease
   * @throws UNAVAILABLE
   */
  async function renew (recordingId: string): Promise<boolean> {
    return await leases.compareAndSet(recordingId, nodeId, nodeId, { ttlMs: leaseMs }) || await leases.compareAndSet(recordingId, undefined, nodeId, { ttlMs: leaseMs })
  }

  /**
   * Runs a step while no other server and no other step works on the recording. The lease stays until it expires or the
   * caller deletes it.
   *
   * @throws UNAVAILABLE, or an error of the step
   */
  async function whileHolding<T> (recordingId: string, step: () => Promise<T>): Promise<T> {
    if (steps.has(recordingId)) throw unavailable('The previous step for the recording is still running')
    const run = async () => {
      if (!await renew(recordingId)) throw unavailable('Another server is finishing the recording')
      const renewing = setInterval(() => { renew(recordingId).catch(() => { /* The next renewal follows soon. */ }) }, renewMs)
      try {
        return await step()
      } finally {
        clearInterval(renewing)
      }
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    steps.set(recordingId, promise)
    try {
      return await run()
    } finally {
      steps.delete(recordingId)
      resolve()
    }
  }

  /**
   * Removes the recording from the room's state and notifies the members.
   *
   * @throws UNAVAILABLE
   */
  async function clear (roomId: string, recordingId: string, reason?: EndReason): Promise<void> {
    try {
      await state.change(roomId, (current) => current?.current?.recordingId === recordingId
        ? { state: {}, events: [stoppedEvent(recordingId, reason)], result: undefined }
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

  /**
   * Continues another server's recording on this server.
   *
   * @returns whether this server records the room
   * @throws UNAVAILABLE, STORAGE_FULL, RECORDING_LIMIT, OVERLOADED
   */
  async function continueHere (predecessor: Predecessor): Promise<boolean> {
    const { roomId, recordingId, startedBy, tracks } = predecessor
    const room = rooms.get(roomId)
    if (!room || closed || drain.draining || state.peek(roomId)?.current?.recordingId !== recordingId) return false
    await openOnce(room, { by: startedBy, tracks, predecessor })
    return recorder.rooms.has(roomId)
  }
  const continueElsewhere = createContinuation(app, continueHere)

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
      if (isUnloading) throw unavailable('The server is unloading its features')
      await hooks.ask('recording:finished', roomId, done)
      // Until the manifest contains `endedAt`, a restarted server finishes the recording again.
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
      if (!await renew(recordingId)) throw unavailable('Another server is finishing the recording')
      await index.put(stored)
    })
  }

  /**
   * Runs a step now, while this server holds the recording's lease. If the step fails, repeats the step every two seconds
   * until it succeeds.
   */
  function retry (recordingId: string, step: () => Promise<void>): Promise<void> {
    const attempt = async () => {
      try {
        await whileHolding(recordingId, step)
        if (unfinished.get(recordingId) === run) {
          unfinished.delete(recordingId)
          await release(recordingId)
        }
      } catch (err) {
        uploadFailures.inc()
        log.warn({ err, recordingId }, 'failed to finish a recording, will retry')
      } finally {
        inFlight.delete(recordingId)
        count()
        // The step may have scheduled another step.
        const next = unfinished.get(recordingId)
        if (next && next !== run) next()
      }
    }
    const run = () => {
      const running = inFlight.get(recordingId) ?? attempt()
      inFlight.set(recordingId, running)
      return running
    }
    unfinished.set(recordingId, run)
    return run()
  }

  /** Deletes the lease of a recording that is complete. */
  const release = async (recordingId: string) => {
    await leases.delete(recordingId).catch(() => { /* The lease expires. */ })
  }

  /**
   * Finishes a recording whose server has died, or that an earlier process left on this server's disk.
   *
   * @throws UNAVAILABLE, for example because another server is finishing the recording, and any error of the disk or the
   *   bucket
   */
  async function takeOver (recordingId: string): Promise<void> {
    if (recorder.get(recordingId) || unfinished.has(recordingId)) return
    const done = await whileHolding(recordingId, async () => await finishLost(recordingId))
    if (done) retry(recordingId, async () => await upload(done))
    else await release(recordingId)
  }

  async function finishLost (recordingId: string): Promise<RecordingRecord | undefined> {
    const folder = storage.folderOf(recordingId)
    const isLocal = await storage.isLocal(recordingId)
    // Read the record only now that this server holds the lease, because another server may have just finished the
    // recording.
    const found = await index.get(recordingId) ?? (isLocal ? await readManifest(folder) : undefined)
    if (!found || (!isLocal && isComplete(found))) return
    const { endedAt, unfinished: isUnfinished, ...record } = found
    // The server may have died after it had stored the end of the recording. The end then stays the same. Otherwise, the
    // recording ends with its last audio.
    const reason = endedAt === undefined ? 'server_lost' : record.reason
    const end = endedAt === undefined || reason === 'server_lost' ? {} : { endedAt }
    // Hand over first, so that another server records the room soon: the download may take a long time.
    if (endedAt === undefined) await handOver(record, reason)
    if (isLocal || await storage.downloadParts(recordingId)) {
      const manifest = await readManifest(folder)
      return await finish({ ...record, ...end, files: manifest && manifest.files.length > record.files.length ? manifest.files : record.files }, reason)
    }
    // The files are on the dead server's disk. That server completes and uploads the files after its restart.
    if (endedAt !== undefined && isUnfinished === undefined) return
    const done: RecordingRecord = { ...record, endedAt: endedAt ?? clock.now(), ...(reason === undefined ? {} : { reason }) }
    await clear(record.roomId, recordingId, reason)
    if (endedAt !== undefined) await hooks.ask('recording:finished', record.roomId, done)
    await index.put(done)
  }

  jobs.on(watchJob, async (recordingId) => {
    const record = await index.get(recordingId)
    if (!record || isComplete(record)) return
    if (await leases.get(recordingId) === undefined && !steps.has(recordingId)) {
      // If the recording has ended and the bucket has no parts, only the dead server can upload the files.
      if (record.endedAt !== undefined && record.unfinished === undefined && !await storage.hasParts(recordingId)) return
      // The job does not wait, because a download may take longer than a job may run. If the download fails, the lease
      // expires, and the job tries again on any server.
      takeOver(recordingId).catch((err: unknown) => {
        uploadFailures.inc()
        log.warn({ err, recordingId }, 'failed to take over a recording, will retry')
      })
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
      for (const recordingId of await storage.downloadIds()) if (!steps.has(recordingId) && await leases.get(recordingId) === undefined) await storage.deleteDownload(recordingId)
    }
    const ids = left
    for (const recordingId of ids) {
      // The recording may still be starting, or the previous generation of the feature may be finishing it.
      if (steps.has(recordingId)) continue
      // The recording may belong to another running server that uses the same DATA_DIR, or another server may be
      // finishing it.
      if (![undefined, nodeId].includes(await leases.get(recordingId))) continue
      try {
        if (!recorder.get(recordingId) && !unfinished.has(recordingId)) await restore(recordingId)
        ids.delete(recordingId)
      } catch (err) {
        failed('failed to recover a recording')(err)
      }
    }
  }

  /** Finishes a recording that an earlier process left on this server's disk, or adds the recording to the index. */
  async function restore (recordingId: string): Promise<void> {
    const manifest = await readManifest(storage.folderOf(recordingId))
    if (manifest?.endedAt === undefined) return await takeOver(recordingId)
    const { roomId, reason } = manifest
    const record = await index.get(recordingId)
    const isInBucket = storage.hasBucket && record?.stored === 'bucket'
    if (!isInBucket && (record?.nodeId !== nodeId || record.unfinished !== undefined || record.stored !== manifest.stored)) await index.put({ ...manifest, nodeId, stored: 'server' })
    if ((await state.read(roomId))?.current?.recordingId === recordingId) await clear(roomId, recordingId, reason)
    if (storage.hasBucket) retry(recordingId, async () => await upload({ ...manifest, nodeId }))
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

  /** Deletes the recordings that are older than RECORDING_DAYS. */
  async function deleteExpired (): Promise<void> {
    if (settings.days === 0) return
    const before = clock.now() - settings.days * dayMs
    for (const record of await index.getMany((await index.ids()).reverse())) {
      if (record.startedAt > before) break
      if (record.endedAt === undefined || record.endedAt > before) continue
      await remove(record).catch((err: unknown) => log.warn({ err, recordingId: record.recordingId }, 'failed to delete an expired recording, will retry'))
    }
  }

  async function remove (record: RecordingRecord): Promise<void> {
    unfinished.delete(record.recordingId)
    await inFlight.get(record.recordingId)
    await steps.get(record.recordingId)
    await storage.delete(record)
    await index.delete(record.recordingId)
    count()
  }

  function uploadParts (recording: Recording): void {
    if (!storage.hasBucket || recording.uploading) return
    recording.uploading = storage.uploadParts(recording).catch((err: unknown) => {
      uploadFailures.inc()
      log.warn({ err, recordingId: recording.id }, 'failed to upload a part of a recording, will retry')
    }).finally(() => { recording.uploading = undefined })
  }

  /**
   * Renews a running recording's lease and updates its record. Ends the recording when it has reached its maximum
   * duration.
   */
  async function tend (recording: Recording): Promise<void> {
    const { id, record, files, saved } = recording
    const now = clock.now()
    if (now - record.startedAt > settings.maxHours * 3_600_000) return await recorder.end(recording, 'max_duration')
    await renew(id)
    if (recording.isClosing || (files.length === saved.files && now - saved.at < saveMs)) return
    recording.saved = { at: now, files: files.length }
    await writeManifest(recording.folder, { ...record, files })
    await index.put({ ...record, files })
    // The store may have lost the job.
    await jobs.schedule(watchJob, id, now + leaseMs)
  }

  const failed = (message: string) => (err: unknown) => log[isCoded(err) ? 'debug' : 'error']({ err }, message)

  const tick = () => {
    for (const recording of recorder.rooms.values()) tend(recording).catch(failed('failed to update a recording'))
    for (const run of unfinished.values()) run()
    if (!left || left.size > 0) recovering = recovering.then(recover).catch(failed('failed to recover recordings'))
    if (!isIndexComplete) recovering = recovering.then(reviewIndex).catch(failed('failed to repair the index of recordings'))
  }
  let recovering = Promise.resolve()
  const timers = [
    setInterval(tick, renewMs).unref(),
    setInterval(() => {
      isIndexComplete = false
      deleteExpired().catch(failed('failed to delete expired recordings'))
    }, retentionMs).unref()
  ]
  app.addHook('onClose', async () => {
    closed = true
    for (const timer of timers) clearInterval(timer)
    await recovering
  })

  const review = (roomId: string, current: State | undefined) => {
    const recording = recorder.rooms.get(roomId)
    if (recording && current?.current?.recordingId !== recording.id) recorder.end(recording, current?.current ? 'moved' : undefined).catch(failed('failed to end a recording'))
  }
  state.onChange(({ roomId }, current) => review(roomId, current))
  state.onMissed((_room, from, to) => {
    const [before, after] = [from?.current, to?.current]
    if (before?.recordingId === after?.recordingId) return []
    return [
      ...(before ? [stoppedEvent(before.recordingId)] : []),
      ...(after ? [startedEvent(after.recordingId, after.by)] : [])
    ]
  })
  hooks.on('room:released', (roomId) => {
    const recording = recorder.rooms.get(roomId)
    if (recording) recorder.end(recording, 'room_closed').catch(failed('failed to end a recording'))
  })
  // End the recordings while all features still run, because other features handle `recording:finished`. If the end takes
  // too long, the recordings are finished after the restart or by another server.
  hooks.on('server:closing', async () => {
    await Promise.race([endAll(), delay(stopMs, undefined, { ref: false })])
    isUnloading = true
  })
  hooks.on('feature:loaded', (name) => {
    if (name !== 'recording') return
    recorder.handlers = {
      ended: async ({ id, record, files, endedAt = clock.now(), reason, uploading }) => await retry(id, async () => {
        const done = await finish({ ...record, files, endedAt }, reason)
        if (!done) return
        retry(id, async () => {
          await uploading
          await upload(done)
        })
      }),
      now: () => clock.now(),
      progress: uploadParts,
      warn: ({ id, record: { roomId } }, message) => log.warn({ recordingId: id, roomId, reason: message }, 'a recording has failed')
    }
    tick()
    deleteExpired().catch(failed('failed to delete expired recordings'))
  })
  count()

  async function endAll (): Promise<void> {
    await Promise.allSettled(starting.values())
    await Promise.all([...recorder.rooms.values()].map(async (recording) => await recorder.end(recording, 'server_stopped')))
    await settled(steps)
  }

  /** @throws FORBIDDEN, UNAVAILABLE */
  async function assertHost ({ record }: LocalRoom, session: Session): Promise<void> {
    if (await rooms.roleOf(record, session) === 'member') throw new Forbidden('Only the owner and admins of the room may do this')
  }

  /**
   * Creates the folder of a recording.
   *
   * @throws STORAGE_FULL, or a file system error
   */
  async function prepare (record: RecordingRecord): Promise<string> {
    const folder = storage.folderOf(record.recordingId)
    try {
      await mkdir(folder, { recursive: true })
      const { bavail, bsize } = await statfs(folder)
      if (bavail * bsize < minFreeBytes) throw new StorageFull()
      await writeManifest(folder, record)
      return folder
    } catch (error) {
      await rm(folder, { recursive: true, force: true }).catch(() => { /* The caller receives the original error. */ })
      if (isDiskFull(error)) throw new StorageFull()
      throw error
    }
  }

  interface OpenRequest { by: UserId, tracks: boolean, predecessor?: Predecessor }
  const starting = new Map<string, Promise<string | undefined>>()

  /** Calls {@link open}. If a recording of the room is already being started, waits for that start instead. */
  async function openOnce (room: LocalRoom, request: OpenRequest): Promise<string | undefined> {
    const running = starting.get(room.roomId)
    if (running) return await running
    const opening = open(room, request).finally(() => starting.delete(room.roomId))
    starting.set(room.roomId, opening)
    return await opening
  }

  /** @returns the id of the room's recording; undefined if a host has stopped the recording that should be continued */
  async function open (room: LocalRoom, { by, tracks, predecessor }: OpenRequest): Promise<string | undefined> {
    const { roomId } = room
    if (recorder.rooms.size + starting.size >= settings.maxRooms) throw withDetails(new RecordingLimit(settings.maxRooms), { limit: settings.maxRooms })
    // The previous recording of this room may still be closing its files.
    const previous = recorder.rooms.get(roomId)
    if (previous?.isClosing) await Promise.race([previous.closed.promise, delay(5000, undefined, { ref: false })])
    const recordingId = uuid()
    // The lease is taken before the folder is created, so that no server finishes the recording while it is starting.
    return await whileHolding(recordingId, async () => await begin(room, recordingId, { by, tracks, ...(predecessor ? { predecessor } : {}) }))
  }

  /** Sets up a recording. See {@link open}. */
  async function begin ({ roomId }: LocalRoom, recordingId: string, { by, tracks, predecessor }: OpenRequest): Promise<string | undefined> {
    const record: RecordingRecord = { recordingId, roomId, startedBy: by, startedAt: clock.now(), nodeId, stored: 'server', tracks, ...(predecessor ? { continues: predecessor.recordingId } : {}), files: [] }
    const folder = await prepare(record).catch(async (error: unknown) => {
      await release(recordingId)
      throw error
    })
    const discard = async () => {
      await Promise.allSettled([index.delete(recordingId), leases.delete(recordingId), rm(folder, { recursive: true, force: true })])
    }
    let mix
    try {
      mix = await sfu.mix(roomId)
      await index.put(record)
      await jobs.schedule(watchJob, recordingId, clock.now() + leaseMs)
    } catch (error) {
      mix?.close()
      await discard()
      throw error
    }
    let current
    try {
      // Members are notified before anything is recorded.
      current = await state.change<string | undefined>(roomId, (before) => before?.current?.recordingId === predecessor?.recordingId
        ? {
            state: { current: { recordingId, by } },
            events: [...(predecessor ? [stoppedEvent(predecessor.recordingId, predecessor.reason)] : []), startedEvent(recordingId, by)],
            result: recordingId
          }
        : { result: before?.current?.recordingId })
    } catch (error) {
      // The room's state may have been stored despite the error. If so, the watch job clears the state.
      mix.close()
      await release(recordingId)
      left?.add(recordingId)
      throw error
    }
    if (current !== recordingId) {
      mix.close()
      await discard()
      return current
    }
    const recording = recorder.open({ ...record, startedAt: clock.now() }, mix, { folder, tracks, minFreeBytes })
    count()
    timeline.begin(recording)
    // The room may have been closed, or the recording stopped, while the recording was being set up.
    if (closed || mix.closed || !rooms.get(roomId)) recorder.end(recording, 'room_closed').catch(failed('failed to end a recording'))
    else review(roomId, state.peek(roomId))
    return recordingId
  }

  const timeline = createTimelineWriter(app, recorder, (roomId) => state.peek(roomId)?.current?.recordingId)

  return {
    index,
    storage,
    async start (room, session, tracks) {
      await assertHost(room, session)
      const { roomId } = room
      const current = state.peek(roomId)?.current
      if (current) return { recordingId: current.recordingId }
      const recordingId = await openOnce(room, { by: session.user.id, tracks })
      if (recordingId === undefined) throw new NotRecording(roomId)
      return { recordingId }
    },
    async stop (room, session) {
      await assertHost(room, session)
      const recordingId = await state.change<string | undefined>(room.roomId, (current) => current?.current
        ? { state: {}, events: [stoppedEvent(current.current.recordingId)], result: current.current.recordingId }
        : { result: undefined })
      if (recordingId === undefined) throw new NotRecording(room.roomId)
      return { recordingId }
    },
    peek: (roomId) => state.peek(roomId)?.current?.recordingId,
    async find (recordingId) {
      const record = await index.get(recordingId)
      return record && this.current(record)
    },
    current (record) {
      const recording = recorder.get(record.recordingId)
      return recording ? { ...record, files: recording.files } : record
    },
    async delete (record) {
      const fresh = await index.get(record.recordingId)
      if (!fresh) return
      if (fresh.endedAt === undefined) throw new RecordingActive(record.recordingId)
      await remove(fresh)
    }
  }
}

const startedEvent = (recordingId: string, by: string | number) => ({ type: 'recording:started', data: { recordingId, by } satisfies Omit<z.input<(typeof events)['recording:started']>, 'roomId'> })
const stoppedEvent = (recordingId: string, reason?: EndReason) => ({
  type: 'recording:stopped',
  data: { recordingId, ...(reason === undefined ? {} : { reason }) } satisfies Omit<z.input<(typeof events)['recording:stopped']>, 'roomId'>
})
