import { defineFeature } from 'flylive-audio-server/feature'
import type { Session, z } from 'flylive-audio-server/feature'
import { createAbsences } from './absences.ts'
import { adminRoutes } from './admin.ts'
import { createHands } from './hands.ts'
import type { KnownHands } from './hands.ts'
import { config, events, joinReply, requests } from './messages.ts'
import { createSeats } from './service.ts'
import type { Seats } from './service.ts'
import { difference, holdersOf, noSeats, seatOf, seatState, viewOf } from './state.ts'
import { createSpeakPermissions } from './speak-permissions.ts'

export { config, requests }
export * as errors from './errors.ts'

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    seats: Seats
  }
  interface FeatureSlots {
    seats: Seats
  }
}

/** Seats: who may be heard, and who decides that. The rules are in decide.ts. */
export default defineFeature(async function seats (app, { graceSeconds = app.config.SEAT_GRACE_SECONDS }) {
  const { hooks, log, messages, rooms } = app
  const state = rooms.roomState.define('seats', seatState)
  // Kept, so that a reload does not look up the roles of all members again.
  const hands = createHands(app, state, app.keep('hands', (): KnownHands => new WeakMap()))
  const service = createSeats(app, state, graceSeconds * 1000, hands)
  const speakPermissions = createSpeakPermissions(app, service)
  app.decorate('seats', service)
  messages.events(events)
  messages.adds('room:join', joinReply)

  messages.on('seat:take', requests['seat:take'], async ({ seatIndex }, { room, session }) => {
    await service.act(room, session, { type: 'take', seatIndex })
    return { seatIndex }
  })
  messages.on('seat:leave', requests['seat:leave'], async (_data, { room, session }) => {
    const { seatIndex = 0 } = await service.act(room, session, { type: 'leave' })
    return { seatIndex }
  })
  for (const type of ['lock', 'unlock'] as const) {
    messages.on(`seat:${type}`, requests[`seat:${type}`], async ({ seatIndex }, { room, session }) => {
      await service.act(room, session, { type, seatIndex })
      return { seatIndex }
    })
  }
  for (const type of ['assign', 'invite'] as const) {
    messages.on(`seat:${type}`, requests[`seat:${type}`], async ({ userId, seatIndex }, { room, session }) => {
      await service.act(room, session, { type, userId, seatIndex })
      return { seatIndex }
    })
  }
  for (const type of ['remove', 'mute', 'unmute'] as const) {
    messages.on(`seat:${type}`, requests[`seat:${type}`], async ({ userId }, { room, session }) => {
      const { userId: known = userId } = await service.act(room, session, { type, userId })
      return { userId: known }
    })
  }
  for (const type of ['accept', 'decline'] as const) {
    messages.on(`seat:invite:${type}`, requests[`seat:invite:${type}`], async (data, { room, session }) => {
      const { seatIndex = 0 } = await service.act(room, session, { type, seatIndex: data.seatIndex })
      return { seatIndex }
    })
  }

  messages.on('seat:request', requests['seat:request'], async (_data, { room, session }) => {
    await service.act(room, session, { type: 'request' })
    return {}
  })
  messages.on('seat:request:cancel', requests['seat:request:cancel'], async ({ userId }, { room, session }) => {
    await service.act(room, session, { type: 'cancel', userId })
    return {}
  })

  hooks.on('room:join', ({ roomId, record }) => {
    const state = service.peek(roomId) ?? noSeats(record.seatCount)
    return {
      ...viewOf(state),
      pendingInvites: state.invites.map(({ userId, ...invite }) => ({ ...invite, invitedUserId: userId }))
    } satisfies Omit<z.input<typeof joinReply>, 'seatRequests'>
  })
  // By itself: it may have to wait, and what is told of seats must be as it was when the member came in.
  hooks.on('room:join', async (room, session) => ({ seatRequests: await hands.welcome(room, session) } satisfies Pick<z.input<typeof joinReply>, 'seatRequests'>))
  hooks.on('room:featured', ({ roomId }) => service.peek(roomId)?.seats.map(({ userId }) => userId) ?? [])

  const absences = createAbsences(service.lookForAbsent, log)
  hooks.on('room:userLeft', (roomId, { userId }, reason) => absences.follow(roomId, service.left(roomId, userId, reason)))
  hooks.on('room:kicked', (roomId, userId) => absences.follow(roomId, service.left(roomId, userId, 'kicked')))
  hooks.on('room:resynced', (roomId) => absences.follow(roomId, service.lookForAbsent(roomId)))
  // Who left while the feature was off still has a seat or a hand up, here and in rooms where nobody was then.
  hooks.on('feature:loaded', (name) => {
    if (name === 'seats') for (const { roomId } of app.rooms.local()) absences.follow(roomId, service.lookForAbsent(roomId))
  })
  hooks.on('room:join', ({ roomId, members }) => {
    if (members.size === 1 && holdersOf(service.peek(roomId)).some(({ awayUntil }) => awayUntil === undefined)) absences.follow(roomId, service.lookForAbsent(roomId))
    return {}
  })
  app.addHook('onClose', () => absences.close())
  state.onMissed(({ record }, from, to) => difference(from, to ?? noSeats(record.seatCount)))
  state.onWake(service.tick)

  // Rooms that are there follow the rules of the moment.
  hooks.on('feature:enabled', (name) => {
    if (name !== 'seats') return
    for (const room of app.rooms.local()) {
      speakPermissions.adopt(room.roomId, service.peek(room.roomId))
      hands.adopt(room)
    }
  })
  hooks.on('feature:disabled', (name) => {
    if (name === 'seats') for (const { roomId } of app.rooms.local()) speakPermissions.release(roomId)
  })
  hooks.on('media:produce', (roomId, session) => speakPermissions.permit(roomId, session))
  state.onChange((room, seats) => {
    speakPermissions.enforce(room.roomId, seats)
    hands.follow(room, seats)
  })
  hooks.on('room:leave', hands.left)
  hooks.on('room:close', hands.closed)
  const selfMuted = (roomId: string, session: Session, muted: boolean) => {
    const room = app.rooms.get(roomId)
    if (room) service.act(room, session, { type: 'selfMute', muted }).catch((err: unknown) => log.debug({ err, roomId }, 'nobody is told that somebody is silent'))
  }
  hooks.on('media:selfMuted', selfMuted)
  hooks.on('media:producerOpened', (roomId, _producer, { sessionId, userKey }) => {
    const session = sessionId === undefined ? undefined : app.sockets.get(sessionId)
    if (!session) return
    const state = service.peek(roomId)
    speakPermissions.enforce(roomId, state)
    // A new producer is not paused by its user, whatever an older one was.
    if (seatOf(state, userKey)?.selfMuted === true) selfMuted(roomId, session, false)
  })

  hooks.on('admin:seating', (roomIds) => service.seatsOf(roomIds))
  adminRoutes(app, service)
}, { name: 'seats', dependencies: ['rooms', 'sfu'], config })
