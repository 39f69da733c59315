import type { Events, GreetingAdditions, JoinAdditions, Requests } from './contract.ts'

export type { ChatMessage, CloseCodes, ErrorCode, Profile, UserId } from './contract.ts'

/** Types of the requests a client can make. */
export type RequestType = keyof Requests
/** What a request of a type carries. Where it is about a room, that is the one joined when none is named. */
export type RequestData<T extends RequestType> = Requests[T]['request'] & { roomId?: string }
/** What the reply to a request of a type carries. */
export type ReplyData<T extends RequestType> = Requests[T]['reply']

/** Types of the events a server sends. */
export type EventType = keyof Events
/** What an event of a type carries. */
export type EventData<T extends EventType> = Events[T]

/** The first event of every connection; what belongs to a feature is there while that feature is on. */
export type Greeting = EventData<'session:ready'> & GreetingAdditions

/** The reply to room:join; what belongs to a feature is there while that feature is on. */
export type JoinReply = ReplyData<'room:join'> & JoinAdditions

/** The error of a failed request, as it comes. */
export interface WireError {
  code: string
  message: string
  details?: unknown
}
