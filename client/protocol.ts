import type { z } from 'zod'
import type { chatMessage, events as chatEvents, joinReply as chatReply, requests as chatRequests } from '../features/chat/messages.ts'
import type { events as giftEvents, requests as giftRequests } from '../features/gifts/messages.ts'
import type { events as mediaEvents, joinReply as mediaReply, requests as mediaRequests } from '../features/media/messages.ts'
import type { events as seatEvents, joinReply as seatReply, requests as seatRequests } from '../features/seats/messages.ts'
import type { events as roomEvents, requests as roomRequests } from '../plugins/rooms/messages.ts'

// Types only: they are read off the schemas with which the server validates,
// so that client and server can't drift apart, and nothing of them is left at
// run time.

type Requests = typeof roomRequests & typeof mediaRequests & typeof seatRequests & typeof chatRequests & typeof giftRequests
type Events = typeof roomEvents & typeof mediaEvents & typeof seatEvents & typeof chatEvents & typeof giftEvents

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
/** What somebody has written. */
export type ChatMessage = z.output<typeof chatMessage>

/** The reply to room:join; what belongs to a feature is there while that feature is on. */
export type JoinReply = ReplyData<'room:join'> & Partial<z.output<typeof mediaReply> & z.output<typeof seatReply> & z.output<typeof chatReply>>

/** The error of a failed request, as it comes. */
export interface WireError {
  code: string
  message: string
  details?: unknown
}
