import { onScopeDispose, shallowRef } from 'vue'
import type { ShallowRef } from 'vue'
import type { RequestError, RoomClient } from '@flylive/audio-client'

// When the client reports a change, the view takes a snapshot of the room's whole state, so that components render
// consistent data.

/** Minimum interval between snapshots, in milliseconds. */
const shortestMs = 40

export type RoomView = ReturnType<typeof pictureOf>

function pictureOf (room: RoomClient, trouble: RequestError | undefined, audible: boolean) {
  const { audio, connection, details, seats } = room
  const list = seats.list
  const { participants, participantCount } = room
  // A seat's occupant is not in the room while disconnected. In big rooms, the list contains only some users.
  const seated = list.filter(({ userId }) => userId !== undefined && (participants.length < participantCount || participants.some(({ seat }) => seat?.userId === userId)))
  return {
    state: room.state,
    roomId: room.roomId,
    connection: connection.state,
    trouble,
    features: connection.features,
    role: room.role,
    ownerId: room.ownerId,
    title: details.title,
    topic: details.topic,
    isLocked: details.isLocked,
    slowModeSeconds: details.slowModeSeconds,
    isRecorded: details.recordingId !== null,
    /** Whether the user can start and stop a recording. */
    records: connection.features.has('recording') && room.role !== undefined && room.role !== 'member',
    onAir: details.hlsUrl !== null,
    /** Whether the user can put the room on air. */
    broadcasts: connection.features.has('broadcast') && room.role !== undefined && room.role !== 'member',
    isHost: seats.enabled && room.role !== undefined && room.role !== 'member',
    /** Whether the user can moderate the room. */
    moderates: connection.features.has('moderation') && room.role !== undefined && room.role !== 'member',
    participants,
    participantCount,
    listenerCount: Math.max(0, participantCount - seated.length),
    seatsEnabled: seats.enabled,
    seats: list,
    ownSeat: seats.own,
    freeSeat: seats.free[0],
    invitation: seats.invitation,
    invited: new Set(list.flatMap(({ invitedUserId }) => invitedUserId === undefined ? [] : [String(invitedUserId)])),
    requests: seats.requests,
    requesting: seats.requesting,
    audio: audio?.state ?? 'off',
    audioFailure: audio?.failure,
    /** Whether the page can receive audio, which is possible even while the microphone is still connecting. */
    audible,
    microphone: audio?.microphone ?? 'off',
    muted: audio?.muted ?? false,
    publishing: audio?.publishing ?? false,
    sending: audio?.sending ?? false,
    /** What the user has chosen to hear. */
    receive: audio?.receive ?? false,
    /** What the user actually hears. */
    reception: audio?.reception,
    mixVolume: audio?.playback.mixVolume ?? 1,
    speaker: audio?.playback.speaker ?? '',
    /** Whether the browser blocks audio until the user interacts with the page. */
    soundBlocked: audio?.playback.blocked ?? false
  }
}

/** @returns the room's state, updated until the current effect scope ends */
export function useRoomView (room: RoomClient): ShallowRef<RoomView> {
  let trouble: RequestError | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let audible = false
  const view = shallowRef(pictureOf(room, trouble, audible))
  const take = () => {
    timer = undefined
    view.value = pictureOf(room, trouble, audible)
  }
  const changed = () => { timer ??= setTimeout(take, shortestMs) }
  const stops = [
    room.on('state', changed),
    room.on('participants', changed),
    room.on('entered', changed),
    room.connection.on('features', changed),
    room.connection.on('state', (state, why) => {
      // The `connecting` state comes without an error, so keep the last error until the connection is open again.
      trouble = state === 'open' ? undefined : why ?? trouble
      changed()
    }),
    room.audio?.on('state', (state, why) => {
      audible = state === 'on' || (audible && state === 'connecting' && why === undefined)
      changed()
    }),
    room.audio?.on('microphone', changed),
    room.audio?.on('muted', changed),
    room.audio?.on('reception', changed),
    room.audio?.playback.on('change', changed)
  ]
  onScopeDispose(() => {
    clearTimeout(timer)
    for (const stop of stops) stop?.()
  })
  return view
}
