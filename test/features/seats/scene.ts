import type { Test } from 'tap'
import { seatState } from '../../../features/seats/state.ts'
import type { SeatState } from '../../../features/seats/state.ts'
import { build, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../../support/rtp.ts'

/**
 * Starts a server with a room of four seats. An owner (1), an admin (2) and two members (3, '4') have joined the room.
 */
export async function scene (t: Test, env: Record<string, string>) {
  const server = await build(t, { env: { FEATURES: 'auth,media,seats', ...env } })
  const owner = await server.connect(1)
  const admin = await connectAdmin(server, 2)
  const [member, other] = [await server.connect(3), await server.connect('4')]
  const all = [owner, admin, member, other]
  await owner.ok('room:join', { roomId: 'r1', seatCount: 4 })
  for (const client of all.slice(1)) await client.ok('room:join', { roomId: 'r1' })
  return { server, owner, admin, member, other, all }
}

/** Connects a user whose token grants the role `admin` in every room. */
export function connectAdmin (server: TestServer, userId: string | number): Promise<TestClient> {
  return server.connect(userId, { token: tokenFor(userId, { roles: ['admin'] }) })
}

/**
 * Starts to send audio.
 *
 * @returns the producer's id
 */
export async function produce (client: TestClient): Promise<string> {
  const { id: transportId } = await client.ok('transport:create', { type: 'producer' })
  await client.ok('transport:connect', { transportId, dtlsParameters })
  const { id } = await client.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })
  return String(id)
}

/**
 * Consumes a producer.
 *
 * @returns the consumer's id
 */
export async function consume (client: TestClient, producerId: string): Promise<string> {
  const { id: transportId } = await client.ok('transport:create', { type: 'consumer' })
  const { id } = await client.ok('audio:consume', { transportId, producerId, rtpCapabilities })
  return String(id)
}

/** Returns a room's seats as the admin API reports them. */
export async function seatsOf (server: TestServer, roomId = 'r1') {
  const { body } = await server.admin('GET', `/admin/rooms/${roomId}/seats`)
  return body as unknown as Omit<SeatState, 'locked' | 'muted' | 'sittings' | 'seats' | 'requests'> & {
    seats: { seatIndex: number, userId: unknown, isMuted: boolean, selfMuted: boolean, awayUntil: number | null }[]
    lockedSeats: number[]
    requests: { userId: unknown, requestedAt: number, awayUntil: number | null }[]
  }
}

/** Makes a room's invites and grace periods end `ms` milliseconds from now, so that tests need not wait longer. */
export async function hurry (server: TestServer, ms: number, roomId = 'r1'): Promise<void> {
  const end = Date.now() + ms
  await server.app.rooms.roomState.define('seats', seatState).change(roomId, (state) => {
    if (!state) throw new Error('the room has no seat state')
    const sooner = <T extends { awayUntil?: number }>(held: T): T => held.awayUntil === undefined ? held : { ...held, awayUntil: end }
    const seats = state.seats.map(sooner)
    const requests = state.requests.map(sooner)
    const invites = state.invites.map((invite) => ({ ...invite, expiresAt: end }))
    return { state: { ...state, seats, requests, invites }, wakeAt: end, result: undefined }
  })
}

/** Returns the seat events that a client received, as compact strings. */
export const seatEvents = (client: TestClient): string[] => client.events
  .filter(({ type }) => type.startsWith('seat:'))
  .map(({ type, data: { roomId, ...data } }) => `${type.slice(5)} ${Object.values(data).map(String).join(' ')}`)
