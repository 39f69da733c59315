import { createHash } from 'node:crypto'
import { profile, roomId, userId, z } from 'flylive-audio-server/feature'
import { v7 } from 'uuid'

const time = z.int().describe('Epoch milliseconds')
const seconds = z.number().min(0)
const seatIndex = z.int().min(0)

/** The data of each event (docs/webhooks.md). */
export const eventData = {
  room_started: z.object({ ownerId: userId.nullable().describe('null if the room has no owner'), title: z.string().optional(), topic: z.string().optional(), startedAt: time }),
  room_finished: z.object({ startedAt: time, durationSeconds: seconds, reason: z.string().describe('The reason in room:closed; `unknown` if no server reported the end of the room, for example because the server died') }),
  participant_joined: z.object({ userId, user: profile, participantCount: z.int() }),
  participant_left: z.object({ userId, reason: z.enum(['left', 'moved', 'disconnected', 'kicked', 'closed']), joinedAt: time, durationSeconds: seconds, participantCount: z.int() }),
  seat_changed: z.object({
    seatIndex,
    userId: userId.nullable().describe('The occupant; null if the seat is free'),
    previousUserId: userId.nullable().describe('The occupant before the change'),
    isMuted: z.boolean().describe('Whether a host has muted the occupant'),
    isLocked: z.boolean()
  }),
  recording_finished: z.object({
    recordingId: z.string(),
    startedBy: userId,
    startedAt: time,
    endedAt: time,
    reason: z.string().describe('`stopped` if a host ended the recording; otherwise the reason in recording:stopped'),
    files: z.array(z.object({ name: z.string(), kind: z.enum(['mix', 'voice']), userId: userId.optional(), bytes: z.int(), seconds }))
  }),
  broadcast_started: z.object({ hlsUrl: z.string(), startedAt: time }),
  broadcast_stopped: z.object({ hlsUrl: z.string(), startedAt: time, durationSeconds: seconds })
}
export type EventName = keyof typeof eventData
export type EventData<N extends EventName = EventName> = z.input<(typeof eventData)[N]>

/** The body of a webhook. */
export const webhook = z.object({ id: z.uuid(), event: z.enum(Object.keys(eventData) as [EventName, ...EventName[]]), createdAt: time, roomId: roomId.optional(), data: z.looseObject({}) })

/** A webhook in a queue. */
export interface QueuedEvent {
  id: string
  /** When the event was added to the queue, in epoch milliseconds. */
  queuedAt: number
  /** The JSON that is sent to receivers. */
  body: string
}

/** Reads the name of the event from the body of a webhook. */
export const nameOf = (body: string): string => (JSON.parse(body) as { event: string }).event

/** Creates an event about a room. */
export function eventOf<N extends EventName> (id: string, event: N, createdAt: number, roomId: string, data: EventData<N>): QueuedEvent {
  return { id, queuedAt: createdAt, body: JSON.stringify({ id, event, createdAt, roomId, data }) }
}

/**
 * Derives the id of an event from the change that causes the event, so that the same change always creates the same
 * event ids.
 *
 * @param order position of the id among the ids of the same millisecond, from 0 to 2³² - 1
 */
export function derivedId (id: string, createdAt: number, name: string, order: number): string {
  return v7({ msecs: createdAt, seq: order, random: createHash('sha256').update(`${id} ${name}`).digest() })
}

export const secondsBetween = (from: number, to: number): number => Math.max(0, Math.round(to - from) / 1000)
