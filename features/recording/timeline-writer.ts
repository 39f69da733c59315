import { isCoded, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'
import type { Recorder, Recording } from './recorder.ts'

/** Writes the timelines of the recordings on this server: speakers, seats and chat messages. */
export interface TimelineWriter {
  /** Begins the timeline with the current seats and speakers. */
  begin (recording: Recording): void
}

/** @param currentOf returns the id of a room's current recording if the room has members on this server */
export function createTimelineWriter (app: FeatureInstance, recorder: Recorder, currentOf: (roomId: string) => string | undefined): TimelineWriter {
  const { clock, cluster, hooks, log, sfu, store } = app
  const failed = (message: string) => (err: unknown) => log[isCoded(err) ? 'debug' : 'error']({ err }, message)

  function begin (recording: Recording): void {
    const { roomId } = recording.record
    const speaking = sfu.speakersOf(roomId)
    writeSeats(recording)
    if (speaking.length > 0) writeSpeakers(recording, speaking)
  }

  const timeOf = (recording: Recording) => Math.max(0, Math.round(clock.now() - recording.record.startedAt))

  function writeSeats (recording: Recording): void {
    const { seats, record: { roomId } } = recording
    const now = new Map(app.features.getFeature('seats')?.peek(roomId)?.seats.map(({ seatIndex, userId }) => [seatIndex, userId]))
    const at = timeOf(recording)
    for (const seatIndex of new Set([...seats.keys(), ...now.keys()])) {
      const userId = now.get(seatIndex)
      if (seats.get(seatIndex) === userId) continue
      if (userId === undefined) seats.delete(seatIndex)
      else seats.set(seatIndex, userId)
      recording.write({ at, type: 'seat', seatIndex, userId: userId ?? null })
    }
  }

  function writeSpeakers (recording: Recording, userIds: readonly UserId[]): void {
    const at = timeOf(recording)
    recording.write({ at, type: 'speakers', userIds })
    const unnamed = userIds.filter((userId) => !recording.named.has(userKeyOf(userId)))
    if (unnamed.length === 0) return
    for (const userId of unnamed) recording.named.add(userKeyOf(userId))
    store.getMembers(recording.record.roomId, unnamed.map(userKeyOf)).then((members) => {
      unnamed.forEach((userId, i) => { recording.write({ at, type: 'user', userId, name: members[i]?.name ?? null }) })
    }).catch(failed('failed to read the names of speakers'))
  }

  /** Adds an entry to the timeline of a room's recording, which may run on another server. */
  function writeAnywhere (roomId: string, entry: object): void {
    const recording = recorder.rooms.get(roomId)
    if (recording) return recording.write({ at: timeOf(recording), ...entry })
    const recordingId = currentOf(roomId)
    if (recordingId !== undefined) cluster.send('recording:entry', { recordingId, entry }).catch(failed('failed to send a timeline entry'))
  }

  hooks.on('seats:changed', (roomId) => {
    const recording = recorder.rooms.get(roomId)
    if (recording) writeSeats(recording)
  })
  hooks.on('media:speakers', (roomId, { activeSpeakers }) => {
    const recording = recorder.rooms.get(roomId)
    if (recording) writeSpeakers(recording, activeSpeakers)
  })
  hooks.on('chat:sent', (roomId, { id, userId, userName, content }) => writeAnywhere(roomId, { type: 'chat', id, userId, name: userName ?? null, content }))
  hooks.on('chat:removed', (roomId, id) => writeAnywhere(roomId, { type: 'chat:removed', id }))
  cluster.on('recording:entry', ({ recordingId, entry }) => {
    const recording = recorder.get(recordingId)
    recording?.write({ at: timeOf(recording), ...entry })
  })

  return { begin }
}
