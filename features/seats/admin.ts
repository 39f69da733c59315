import { refusals, roomId, RoomNotFound, userId, z } from 'flylive-audio-server/feature'
import type { FeatureInstance } from 'flylive-audio-server/feature'
import { initialSeats, isMuted, viewOfRequests } from './state.ts'
import type { SeatState } from './state.ts'
import { maxSeats, seat, seatIndex, seatRequest } from './messages.ts'
import type { Seats } from './service.ts'

const params = z.object({ roomId })

/** A room's seats as the admin API returns them. */
const adminView = z.object({
  seatCount: z.int(),
  seats: z.array(seat.extend({
    selfMuted: z.boolean(),
    awayUntil: z.int().nullable().describe('When the seat is released if the user does not return, in epoch milliseconds')
  })),
  lockedSeats: z.array(seatIndex),
  invites: z.array(z.object({ seatIndex, userId, invitedById: userId, expiresAt: z.int() })),
  requests: z.array(seatRequest.extend({
    awayUntil: z.int().nullable().describe('When the request is removed if the user does not return, in epoch milliseconds')
  }))
})

function describe (state: SeatState): z.input<typeof adminView> {
  return {
    seatCount: state.seatCount,
    seats: state.seats.map(({ seatIndex, userId, selfMuted, awayUntil }) =>
      ({ seatIndex, userId, isMuted: isMuted(state, userId), selfMuted, awayUntil: awayUntil ?? null })),
    lockedSeats: state.locked,
    invites: state.invites,
    requests: viewOfRequests(state).map((request, i) => ({ ...request, awayUntil: state.requests[i]?.awayUntil ?? null }))
  }
}

/** Adds the routes under /admin/rooms/:roomId/seats. */
export function adminRoutes (app: FeatureInstance, seats: Seats): void {
  async function view (roomId: string) {
    const room = await app.store.getRoom(roomId)
    if (!room) throw new RoomNotFound(roomId)
    return describe(await seats.read(roomId) ?? initialSeats(room))
  }

  app.get('/admin/rooms/:roomId/seats', {
    schema: { summary: 'Seats, locks, invites and requests of a room', params, response: { 200: adminView, ...refusals(RoomNotFound) } }
  }, ({ params }) => view(params.roomId))

  app.patch('/admin/rooms/:roomId/seats', {
    schema: {
      summary: 'Changes the number of seats in a room',
      params,
      body: z.object({ seatCount: z.int().min(1).max(maxSeats) }),
      response: { 200: adminView, ...refusals(RoomNotFound) }
    }
  }, async (request) => {
    const { params: { roomId }, body: { seatCount } } = request
    const before = await view(roomId)
    await seats.resize(roomId, seatCount)
    const after = await view(roomId)
    app.admin.audit(request, 'seats.resize', { roomId, before, after })
    return after
  })
}
