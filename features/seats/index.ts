import { defineFeature, hasOwner, userKeyOf } from 'flylive-audio-server/feature'
import type { Session, z } from 'flylive-audio-server/feature'
import { adminRoutes } from './admin.ts'
import { config } from './config.ts'
import { createDisconnectGrace } from './disconnect-grace.ts'
import { events, joinReply, joinRequest, requests } from './messages.ts'
import { createSeatRequests } from './seat-requests.ts'
import type { RequestAudiences } from './seat-requests.ts'
import { createSeats, createSpeakPermissions } from './service.ts'
import type { Seats } from './service.ts'
import type { SeatsSnapshot } from './state.ts'
import { difference, holdersOf, initialSeats, lastingSeats, seatOf, seatState, viewOf } from './state.ts'

export { config, requests }
export * as errors from './errors.ts'

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    seats: Seats
  }
  interface FeatureSlots {
    seats: Seats
  }
  interface FeatureHooks {
    /**
     * Called when the seats of a room that has members on this server have changed.
     *
     * @param seated number of users in the room who have a seat
     */
    'seats:changed': (roomId: string, seated: number) => void
    /**
     * Called on the server that ran a command, when the command has changed the number, occupants, locks or mutes of a
     * room's seats.
     */
    'seats:updated': (roomId: string, seats: SeatsSnapshot) => void
  }
}

/** Adds seats to rooms: only seated users are allowed to send audio. The rules are in decide.ts. */
export default defineFeature(async function seats (app, { graceSeconds, commandsPerMinute, adminCommandsPerMinute }) {
  const { hooks, log, messages, rooms } = app
  const state = rooms.roomState.define('seats', seatState, { durable: lastingSeats })
  // The audiences are kept across reloads, so that the roles of members are not looked up again.
  const seatRequests = createSeatRequests(app, state, app.keep('requestAudiences', (): RequestAudiences => new WeakMap()))
  const service = createSeats(app, state, graceSeconds * 1000, seatRequests)
  const speakPermissions = createSpeakPermissions(app, service)
  app.decorate('seats', service)
  messages.events(events)
  messages.accepts('room:join', joinRequest)
  messages.adds('room:join', joinReply)

  const own = { limit: { perMinute: commandsPerMinute, name: 'seats', eventual: true } }
  const others = { limit: { perMinute: adminCommandsPerMinute, name: 'seats:others', eventual: true } }
  messages.on('seat:take', { ...requests['seat:take'], ...own }, async ({ seatIndex }, { room, session }) => {
    await service.act(room, session, { type: 'take', seatIndex })
    return { seatIndex }
  })
  messages.on('seat:leave', { ...requests['seat:leave'], ...own }, async (_data, { room, session }) => {
    const { seatIndex = 0 } = await service.act(room, session, { type: 'leave' })
    return { seatIndex }
  })
  for (const type of ['lock', 'unlock'] as const) {
    messages.on(`seat:${type}`, { ...requests[`seat:${type}`], ...others }, async ({ seatIndex }, { room, session }) => {
      await service.act(room, session, { type, seatIndex })
      return { seatIndex }
    })
  }
  for (const type of ['assign', 'invite'] as const) {
    messages.on(`seat:${type}`, { ...requests[`seat:${type}`], ...others }, async ({ userId, seatIndex }, { room, session }) => {
      await service.act(room, session, { type, userId, seatIndex })
      return { seatIndex }
    })
  }
  for (const type of ['remove', 'mute', 'unmute'] as const) {
    messages.on(`seat:${type}`, { ...requests[`seat:${type}`], ...others }, async ({ userId }, { room, session }) => {
      const { userId: memberId = userId } = await service.act(room, session, { type, userId })
      return { userId: memberId }
    })
  }
  for (const type of ['accept', 'decline'] as const) {
    messages.on(`seat:invite:${type}`, { ...requests[`seat:invite:${type}`], ...own }, async (data, { room, session }) => {
      const { seatIndex = 0 } = await service.act(room, session, { type, seatIndex: data.seatIndex })
      return { seatIndex }
    })
  }

  messages.on('seat:request', { ...requests['seat:request'], ...own }, async (_data, { room, session }) => {
    await service.act(room, session, { type: 'request' })
    return {}
  })
  messages.on('seat:request:cancel', { ...requests['seat:request:cancel'], ...others }, async ({ userId }, { room, session }) => {
    await service.act(room, session, { type: 'cancel', userId })
    return {}
  })

  hooks.on('room:join', ({ roomId, record }) => {
    // In a room without an owner, members need no seat to send audio.
    if (!hasOwner(record)) return {}
    const state = service.peek(roomId) ?? initialSeats(record)
    return {
      ...viewOf(state),
      pendingInvites: state.invites.map(({ userId, ...invite }) => ({ ...invite, invitedUserId: userId }))
    } satisfies Omit<z.input<typeof joinReply>, 'seatRequests'>
  })
  // This hook is separate, because it may wait for the backend, but the hook above must read the seats at the time of
  // the join.
  hooks.on('room:join', async (room, session) => hasOwner(room.record)
    ? { seatRequests: await seatRequests.joinSnapshot(room, session) } satisfies Pick<z.input<typeof joinReply>, 'seatRequests'>
    : {})
  hooks.on('room:participants', ({ roomId, record }, profiles) => {
    if (!hasOwner(record)) return
    const raised = new Set(service.peek(roomId)?.requests.map(({ userId }) => userKeyOf(userId)))
    for (const profile of profiles) profile.handRaised = raised.has(userKeyOf(profile.userId))
  })
  hooks.on('room:featured', ({ roomId }) => service.peek(roomId)?.seats.map(({ userId }) => userId) ?? [])

  const disconnectGrace = createDisconnectGrace(service.startMissingGrace, log)
  hooks.on('room:userJoined', (roomId, { userId }) => disconnectGrace.track(roomId, service.returned(roomId, userId)))
  hooks.on('room:userLeft', (roomId, { userId }, reason) => disconnectGrace.track(roomId, service.left(roomId, userId, reason)))
  hooks.on('room:kicked', (roomId, userId) => disconnectGrace.track(roomId, service.left(roomId, userId, 'kicked')))
  hooks.on('room:resynced', (roomId) => disconnectGrace.track(roomId, service.startMissingGrace(roomId)))
  // Users who left while the feature was off may still have a seat or a request. Check the rooms on this server now;
  // any other room is checked when its first member joins.
  hooks.on('feature:loaded', (name) => {
    if (name !== 'seats') return
    for (const room of app.rooms.local()) {
      disconnectGrace.track(room.roomId, service.startMissingGrace(room.roomId))
      // The previous generation of the feature may not have sent the latest changes.
      seatRequests.publish(room, service.peek(room.roomId))
    }
  })
  hooks.on('room:join', ({ roomId, members }) => {
    if (members.size === 1 && holdersOf(service.peek(roomId)).length > 0) disconnectGrace.track(roomId, service.startMissingGrace(roomId))
    return {}
  })
  app.addHook('onClose', async () => {
    seatRequests.close()
    await disconnectGrace.close()
  })
  state.onMissed(({ record }, from, to) => difference(from, to ?? initialSeats(record)))
  state.onWake(service.tick)

  // Turning the feature on or off affects existing rooms immediately.
  hooks.on('feature:enabled', (name) => {
    if (name !== 'seats') return
    for (const room of app.rooms.local()) {
      speakPermissions.hydrate(room.roomId, service.peek(room.roomId))
      seatRequests.hydrate(room)
    }
  })
  hooks.on('feature:disabled', (name) => {
    if (name === 'seats') for (const { roomId } of app.rooms.local()) speakPermissions.release(roomId)
  })
  hooks.on('media:produce', (roomId, session) => speakPermissions.permit(roomId, session))
  state.onChange((room, seats) => {
    speakPermissions.enforce(room.roomId, seats)
    seatRequests.publish(room, seats)
    rooms.reviewOwner(room.roomId)
    hooks.emit('seats:changed', room.roomId, seats?.seats.filter(({ awayUntil }) => awayUntil === undefined).length ?? 0)
  })
  hooks.on('room:successors', service.successors)
  hooks.on('room:ownerChanged', seatRequests.ownerChanged)
  hooks.on('room:roleChanged', seatRequests.roleChanged)
  hooks.on('room:leave', seatRequests.left)
  hooks.on('room:close', seatRequests.closed)
  const setSelfMuted = (roomId: string, session: Session, muted: boolean) => {
    const room = app.rooms.get(roomId)
    if (room) service.act(room, session, { type: 'selfMute', muted }).catch((err: unknown) => log.debug({ err, roomId }, "failed to store a user's self-mute"))
  }
  hooks.on('media:selfMuted', setSelfMuted)
  hooks.on('media:producerOpened', (roomId, _producer, { sessionId, userKey }) => {
    const session = sessionId === undefined ? undefined : app.sockets.get(sessionId)
    if (!session) return
    const state = service.peek(roomId)
    speakPermissions.enforce(roomId, state)
    // A new producer starts unpaused, even if the user had paused the previous producer.
    if (seatOf(state, userKey)?.selfMuted === true) setSelfMuted(roomId, session, false)
  })

  hooks.on('admin:seating', service.seatsOf)
  adminRoutes(app, service)
}, { name: 'seats', dependencies: ['rooms', 'sfu'], config })
