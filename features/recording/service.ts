import { mkdir, rm, statfs } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Forbidden, isCoded, withDetails } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, Session, UserId, z } from 'flylive-audio-server/feature'
import { v7 as uuid } from 'uuid'
import type { config } from './config.ts'
import type { Predecessor } from './continuation.ts'
import { NotRecording, RecordingActive, RecordingLimit, StorageFull } from './errors.ts'
import { createFinishing, isDiskFull } from './finishing.ts'
import type { Recorder, Recording } from './recorder.ts'
import { createRecordIndex, idPattern, writeManifest } from './records.ts'
import type { RecordIndex, RecordingRecord } from './records.ts'
import { idleState, recordingState, startedEvent, stoppedEvent } from './room-state.ts'
import type { State } from './room-state.ts'
import { createSteps, renewMs, settled } from './steps.ts'
import type { Storage } from './storage.ts'
import { createTimelineWriter } from './timeline-writer.ts'

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

/** How often a running recording's record is updated, in milliseconds. */
const saveMs = 10_000
const retentionMs = 10 * 60_000
const dayMs = 24 * 60 * 60_000
/** Maximum wait for the end of all recordings before the server unloads its features, in milliseconds. */
const stopMs = 4000

/** @param running the running steps of the recordings on this server, by recording id; see `StepsOptions` in steps.ts */
export function createRecordings (app: FeatureInstance, settings: z.output<typeof config>, recorder: Recorder, running: Map<string, Promise<void>>, storage: Storage): Recordings {
  const { clock, cluster, drain, hooks, log, metrics, nodeId, rooms, sfu } = app
  const state = rooms.roomState.define('recording', recordingState, { durable: true })
  const index = createRecordIndex(app)
  const active = metrics.gauge('flylive_recordings_active', 'Running recordings on this server')
  const uploadFailures = metrics.counter('flylive_recording_upload_failures_total', 'Failed attempts to finish a recording or to upload it to the S3 bucket. The server retries them')
  const waiting = metrics.gauge('flylive_recording_waiting', 'Ended recordings on this server whose files are not yet complete or not yet uploaded')
  let closed = false
  /** True once the server may have unloaded the features that handle `recording:finished`. */
  let isUnloading = false

  const minFreeBytes = settings.minFreeMb * 1024 * 1024
  const count = () => {
    active.set(recorder.rooms.size)
    waiting.set(steps.unfinished)
  }
  const steps = createSteps(app, { running, failures: uploadFailures, changed: count })

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
  const finishing = createFinishing(app, { state, index, recorder, storage, steps, failures: uploadFailures, continueHere, isUnloading: () => isUnloading })

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
    const { recordingId } = record
    await steps.cancel(recordingId)
    await storage.delete(record, await steps.holderOf(recordingId))
    await index.delete(recordingId)
    count()
  }

  cluster.answer('recording:delete', async ({ recordingId }) => {
    if (!idPattern.test(recordingId)) return true as const
    await steps.cancel(recordingId)
    await storage.deleteHere(recordingId)
    count()
    return true as const
  })

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
    await steps.renew(id)
    if (recording.isClosing || (files.length === saved.files && now - saved.at < saveMs)) return
    recording.saved = { at: now, files: files.length }
    await writeManifest(recording.folder, { ...record, files })
    await index.put({ ...record, files })
    // The store may have lost the job.
    await finishing.watch(id)
  }

  const failed = (message: string) => (err: unknown) => log[isCoded(err) ? 'debug' : 'error']({ err }, message)

  const tick = () => {
    for (const recording of recorder.rooms.values()) tend(recording).catch(failed('failed to update a recording'))
    steps.repeat()
    finishing.review()
  }
  const timers = [
    setInterval(tick, renewMs).unref(),
    setInterval(() => {
      finishing.reviewIndex()
      deleteExpired().catch(failed('failed to delete expired recordings'))
    }, retentionMs).unref()
  ]
  app.addHook('onClose', async () => {
    closed = true
    for (const timer of timers) clearInterval(timer)
    await finishing.settled()
  })

  const review = (roomId: string, current: State | undefined) => {
    const recording = recorder.rooms.get(roomId)
    if (recording && current?.current?.recordingId !== recording.id) recorder.end(recording, current?.current ? 'moved' : undefined).catch(failed('failed to end a recording'))
  }
  state.onChange(({ roomId }, current) => review(roomId, current))
  state.onMissed((_room, from, to) => {
    const [before, after, ended] = [from?.current, to?.current, to?.ended]
    if (before?.recordingId === after?.recordingId) return []
    return [
      ...(before ? [stoppedEvent(before.recordingId, before.recordingId === ended?.recordingId ? ended.reason : undefined)] : []),
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
      ended: finishing.ended,
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
    await settled(running)
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
    return await steps.whileHolding(recordingId, async () => await begin(room, recordingId, { by, tracks, ...(predecessor ? { predecessor } : {}) }))
  }

  /** Sets up a recording. See {@link open}. */
  async function begin ({ roomId }: LocalRoom, recordingId: string, { by, tracks, predecessor }: OpenRequest): Promise<string | undefined> {
    const record: RecordingRecord = { recordingId, roomId, startedBy: by, startedAt: clock.now(), nodeId, stored: 'server', tracks, ...(predecessor ? { continues: predecessor.recordingId } : {}), files: [] }
    const folder = await prepare(record).catch(async (error: unknown) => {
      await steps.release(recordingId)
      throw error
    })
    const discard = async () => {
      await Promise.allSettled([index.delete(recordingId), steps.release(recordingId), rm(folder, { recursive: true, force: true })])
    }
    let mix
    try {
      mix = await sfu.mix(roomId)
      await index.put(record)
      await finishing.watch(recordingId)
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
            state: { current: { recordingId, by }, ...idleState(predecessor ? { recordingId: predecessor.recordingId, reason: predecessor.reason } : before?.ended) },
            events: [...(predecessor ? [stoppedEvent(predecessor.recordingId, predecessor.reason)] : []), startedEvent(recordingId, by)],
            result: recordingId
          }
        : { result: before?.current?.recordingId })
    } catch (error) {
      // The room's state may have been stored despite the error. If so, the watch job clears the state.
      mix.close()
      await steps.release(recordingId)
      finishing.reviewLater(recordingId)
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
        ? { state: idleState(current.ended), events: [stoppedEvent(current.current.recordingId)], result: current.current.recordingId }
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
