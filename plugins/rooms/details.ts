import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { accessDocument } from '../store/types.ts'
import type { RoomAccess, RoomRecord } from '../store/types.ts'
import type { events } from './messages.ts'
import { hashPin } from './pins.ts'
import type { RoomEvent, RoomStateKernel } from './room-state.ts'

// A room's details are its title, its topic, and which users it admits. The initial details come from the join that
// created the room. Changes that hosts make later are stored as room state, which the store reads on every join.

const detailsState = z.object({
  title: z.string().optional(),
  topic: z.string().optional(),
  admits: z.enum(['everyone', 'pin', 'nobody']).optional(),
  pinHash: z.string().optional()
}) satisfies z.ZodType<RoomAccess>
type DetailsState = z.output<typeof detailsState>

/** The details of a room that its members see. */
export interface RoomDetails {
  title: string | null
  topic: string | null
  /** True if new users need a PIN or cannot join at all. */
  isLocked: boolean
}

/**
 * A room's record, reduced to the fields that contain the room's initial details. The join that created the room has
 * set these details.
 */
export type DetailedRoom = Pick<RoomRecord, 'roomId' | 'title' | 'topic' | 'locked'>

export interface Details {
  /** Returns the details from this server's memory. Works only for a room that has members on this server. */
  peek (room: DetailedRoom): RoomDetails
  /**
   * Reads the details of rooms in one round trip.
   *
   * @throws UNAVAILABLE
   */
  read (rooms: readonly DetailedRoom[]): Promise<RoomDetails[]>
  /**
   * @returns which users the room admits; undefined if no host has ever locked or unlocked the room
   * @throws UNAVAILABLE
   */
  readAccess (roomId: string): Promise<Pick<RoomAccess, 'admits' | 'pinHash'> | undefined>
  /** Returns the hash of the PIN that a host has set. Reads the hash from this server's memory. */
  peekPinHash (roomId: string): string | undefined
  /**
   * Changes the title and the topic.
   *
   * @param change the new values. Undefined keeps the current value, and null removes it
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  update (room: DetailedRoom, change: { title?: string | null | undefined, topic?: string | null | undefined }): Promise<RoomDetails>
  /**
   * Locks a room, so that users who are not in the room need a PIN or cannot join.
   *
   * @param pin the PIN that new users need from now on; if omitted, new users cannot join
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  lock (room: DetailedRoom, pin?: string): Promise<RoomDetails>
  /**
   * Admits everyone again.
   *
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  unlock (room: DetailedRoom): Promise<RoomDetails>
}

function viewOf (state: DetailsState | undefined, room: DetailedRoom): RoomDetails {
  const { title, topic, admits } = state ?? room as DetailsState
  return { title: title ?? null, topic: topic ?? null, isLocked: admits === undefined ? room.locked : admits !== 'everyone' }
}

const updatedEvent = (details: RoomDetails): RoomEvent =>
  ({ type: 'room:updated', data: { ...details } satisfies Omit<z.input<(typeof events)['room:updated']>, 'roomId'> })

const isSame = (one: RoomDetails, other: RoomDetails) => one.title === other.title && one.topic === other.topic && one.isLocked === other.isLocked

export function createDetails (app: Pick<FastifyInstance, 'hooks'>, roomState: Pick<RoomStateKernel, 'define'>): Details {
  const state = roomState.define(accessDocument, detailsState, { durable: true })
  state.onMissed(({ record }, from, to) => {
    const [before, after] = [viewOf(from, record), viewOf(to, record)]
    return isSame(before, after) ? [] : [updatedEvent(after)]
  })

  const change = async (room: DetailedRoom, next: (current: DetailsState) => DetailsState) => await state.change<RoomDetails>(room.roomId, (current) => {
    const before = viewOf(current, room)
    const changed = next(current ?? { title: room.title, topic: room.topic })
    const after = viewOf(changed, room)
    return { state: changed, events: isSame(before, after) ? [] : [updatedEvent(after)], result: after }
  })

  return {
    peek: (room) => viewOf(state.peek(room.roomId), room),
    async read (rooms) {
      const states = await state.readMany(rooms.map(({ roomId }) => roomId))
      return rooms.map((room, i) => viewOf(states[i], room))
    },
    readAccess: async (roomId) => await state.read(roomId),
    peekPinHash: (roomId) => state.peek(roomId)?.pinHash,
    update: (room, { title, topic }) => change(room, (current) => ({
      ...current,
      title: title === undefined ? current.title : title ?? undefined,
      topic: topic === undefined ? current.topic : topic ?? undefined
    })),
    async lock (room, pin) {
      const pinHash = pin === undefined ? undefined : await hashPin(pin)
      return await change(room, (current) => ({ ...current, admits: pinHash === undefined ? 'nobody' : 'pin', pinHash }))
    },
    unlock: (room) => change(room, (current) => ({ ...current, admits: 'everyone', pinHash: undefined }))
  }
}
