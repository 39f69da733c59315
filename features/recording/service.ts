import { mkdir, readdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Forbidden, isCoded, userId, withDetails, z } from 'flylive-audio-server/feature'
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
const lockMs = 60_000
const dayMs = 24 * 60 * 60_000
const watchJob = 'recording-watch'

export function createRecordings (app: FeatureInstance, settings: z.output<typeof config>, recorder: Recorder, storage: Storage): Recordings {
  const { clock, cluster, drain, hooks, jobs, kv, log, metrics, nodeId, rooms, sfu } = app
  const state = rooms.roomState.define('recording', recordingState, { durable: true })
  const index = createRecordIndex(app)
  /** For each running recording, the id of the server that is recording the room. */
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

  const minFreeBytes = settings.minFreeMb * 1024 * 1024
  const count = () => {
    active.set(recorder.rooms.size)
    waiting.set(unfinished.size)
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

  /** Completes the files in a recording's folder and deletes empty files. */
  async function completeFiles (folder: string, known: readonly RecordedFile[]): Promise<RecordedFile[]> {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.mp4')).sort()
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
   * Finishes a recording whose files are on this server. Each step can be repeated, so a server that dies during a step
   * finishes the recording after a restart.
   *
   * @param uploading the upload that was still in progress when the recording ended
   */
  async function finish (record: RecordingRecord, reason: EndReason | undefined, uploading?: Promise<void>): Promise<void> {
    const { recordingId, roomId } = record
    const isContinued = await handOver(record, reason)
    if (isContinued && reason === 'room_closed') reason = 'moved'
    const folder = storage.folderOf(recordingId)
    const files = await completeFiles(folder, record.files)
    const seconds = Math.max(0, ...files.map((file) => file.seconds))
    const done: RecordingRecord = {
      ...record,
      nodeId,
      files,
      endedAt: record.endedAt ?? (reason === 'server_lost' ? Math.round(record.startedAt + seconds * 1000) : clock.now()),
      ...(reason === undefined ? {} : { reason })
    }
    // If nothing was recorded, remove the record. After a crash, keep even an empty record, because a host has received
    // the recording's id in the reply to recording:start.
    if (files.length > 0 || reason === 'server_lost') await index.put(done)
    else await index.delete(recordingId)
    if (files.length > 0) {
      // The manifest is written last. Until the manifest contains `endedAt`, a restarted server finishes the recording
      // again.
      await hooks.ask('recording:finished', roomId, done)
      await writeManifest(folder, done)
    }
    await clear(roomId, recordingId, reason)
    await leases.delete(recordingId)
    ended.inc({ reason: reason ?? 'stopped' })
    bytes.inc(files.reduce((sum, file) => sum + file.bytes, 0))
    log.info({ recordingId, roomId, seconds, reason }, 'recording finished')
    if (files.length === 0) return await rm(folder, { recursive: true, force: true })
    retry(recordingId, async () => {
      await uploading
      await upload(done)
    })
  }

  async function upload (record: RecordingRecord): Promise<void> {
    if (!storage.hasBucket) return
    await storage.upload({ ...record, stored: 'bucket' }, async () => await index.put({ ...record, stored: 'bucket' }))
  }

  /** Runs a step now. If the step fails, repeats the step every two seconds until it succeeds. */
  function retry (recordingId: string, step: () => Promise<void>): Promise<void> {
    const attempt = async () => {
      try {
        await step()
        if (unfinished.get(recordingId) === run) unfinished.delete(recordingId)
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

  const takenOver = new Set<string>()

  /** Finishes a recording whose server has died. */
  async function takeOver (recordingId: string, isLocalRepair = false): Promise<void> {
    const record = await index.get(recordingId) ?? (isLocalRepair ? await readManifest(storage.folderOf(recordingId)) : undefined)
    if (!record || recorder.get(recordingId) || unfinished.has(recordingId) || takenOver.has(recordingId)) return
    if (record.endedAt !== undefined && !isLocalRepair) return
    takenOver.add(recordingId)
    try {
      await finishLost(record)
    } finally {
      takenOver.delete(recordingId)
    }
  }

  async function finishLost (record: RecordingRecord): Promise<void> {
    const { recordingId, reason } = record
    // The server died after it had stored the end of the recording, and possibly after it had called the
    // `recording:finished` hook.
    if (record.endedAt !== undefined && reason !== 'server_lost') return await finish(record, reason)
    // Hand over first, so that another server records the room soon: the download may take a long time.
    await handOver(record, 'server_lost')
    if (await storage.isLocal(recordingId) || await storage.downloadParts(recordingId)) {
      const manifest = await readManifest(storage.folderOf(recordingId))
      const { endedAt: _, ...rest } = record
      return await finish({ ...rest, files: manifest && manifest.files.length > record.files.length ? manifest.files : record.files }, 'server_lost')
    }
    // The files are on the dead server's disk. That server completes the files after its restart.
    await index.put({ ...record, endedAt: clock.now(), reason: 'server_lost' })
    await clear(record.roomId, recordingId, 'server_lost')
  }

  jobs.on(watchJob, async (recordingId) => {
    if (await leases.get(recordingId) === undefined && !unfinished.has(recordingId) && await cluster.tryLock(`recording:${recordingId}`, lockMs)) await takeOver(recordingId)
    const record = await index.get(recordingId)
    if (record && record.endedAt === undefined) await jobs.schedule(watchJob, recordingId, clock.now() + watchMs)
  })

  /**
   * Ids of recordings that an earlier process left on this server's disk; undefined until the disk has been searched.
   */
  let left: Set<string> | undefined

  /** Finishes the recordings that an earlier process left on this server's disk, and repairs the index. */
  async function recover (): Promise<void> {
    left ??= new Set((await storage.localIds()).filter((id) => !recorder.get(id)))
    for (const recordingId of left) {
      // The recording may belong to another running server that uses the same DATA_DIR.
      if (unfinished.has(recordingId) || await leases.get(recordingId) !== undefined) continue
      const manifest = await readManifest(storage.folderOf(recordingId))
      if (manifest?.endedAt === undefined) await takeOver(recordingId, true)
      else {
        const record = await index.get(recordingId)
        if (record?.nodeId !== nodeId || record.stored !== manifest.stored) await index.put({ ...manifest, nodeId, stored: 'server' })
        retry(recordingId, async () => await upload({ ...manifest, nodeId }))
      }
      left.delete(recordingId)
    }
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
    if (!await leases.compareAndSet(id, nodeId, nodeId, { ttlMs: leaseMs })) await leases.compareAndSet(id, undefined, nodeId, { ttlMs: leaseMs })
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
  hooks.on('feature:loaded', (name) => {
    if (name !== 'recording') return
    recorder.handlers = {
      ended: async (recording) => await retry(recording.id, async () => await finish({ ...recording.record, files: recording.files, endedAt: recording.endedAt ?? clock.now() }, recording.reason, recording.uploading)),
      now: () => clock.now(),
      progress: uploadParts,
      warn: ({ id, record: { roomId } }, message) => log.warn({ recordingId: id, roomId, reason: message }, 'a recording has failed')
    }
    tick()
    deleteExpired().catch(failed('failed to delete expired recordings'))
  })
  count()

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
      if (['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw new StorageFull()
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
    const record: RecordingRecord = { recordingId, roomId, startedBy: by, startedAt: clock.now(), nodeId, stored: 'server', tracks, ...(predecessor ? { continues: predecessor.recordingId } : {}), files: [] }
    const folder = await prepare(record)
    const discard = async () => {
      await Promise.allSettled([index.delete(recordingId), leases.delete(recordingId), rm(folder, { recursive: true, force: true })])
    }
    let mix
    try {
      mix = await sfu.mix(roomId)
      await index.put(record)
      await leases.set(recordingId, nodeId, { ttlMs: leaseMs })
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
      await leases.delete(recordingId).catch(() => { /* The lease expires. */ })
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
