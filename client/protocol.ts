import type { z } from 'zod'
import type { events as mediaEvents, joinReply, requests as mediaRequests } from '../features/media/messages.ts'
import type { events as roomEvents, requests as roomRequests } from '../plugins/rooms/messages.ts'

// Types only: they are read off the schemas with which the server validates,
// so that client and server can't drift apart, and nothing of them is left at
// run time.

type Requests = typeof roomRequests & typeof mediaRequests
type Events = typeof roomEvents & typeof mediaEvents

/** Types of the requests a client can make. */
export type RequestType = keyof Requests
/** What a request of a type carries. Where it is about a room, that is the one joined when none is named. */
export type RequestData<T extends RequestType> = z.input<Requests[T]['request']> & { roomId?: string }
/** What the reply to a request of a type carries. */
export type ReplyData<T extends RequestType> = z.output<Requests[T]['reply']>

/** Types of the events a server sends. */
export type EventType = keyof Events
/** What an event of a type carries. */
export type EventData<T extends EventType> = z.output<Events[T]>

/** A user's id, as the token had it: a number stays a number. */
export type UserId = EventData<'room:userLeft'>['userId']
/** The public claims of a user. */
export type Profile = EventData<'room:userJoined'>['user']

/** The first event of every connection. */
export type Greeting = EventData<'session:ready'>
/** The reply to room:join; what belongs to media is there while that feature is on. */
export type JoinReply = ReplyData<'room:join'> & Partial<z.output<typeof joinReply>>

/** The error of a failed request, as it comes. */
export interface WireError {
  code: string
  message: string
  details?: unknown
}
