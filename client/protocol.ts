import type { Events, GreetingAdditions, JoinAdditions, Requests } from './contract.ts'

export type { ChatMessage, CloseCodes, ErrorCode, JoinRequestAdditions, Profile, UserId } from './contract.ts'

/** Types of the requests that a client can send. */
export type RequestType = keyof Requests
/** The data of a request. `roomId` is optional: the default is the room that the client has joined. */
export type RequestData<T extends RequestType> = Requests[T]['request'] & { roomId?: string }
/** The data of a reply. */
export type ReplyData<T extends RequestType> = Requests[T]['reply']

/** Types of the events that a server sends. */
export type EventType = keyof Events
/** The data of an event. */
export type EventData<T extends EventType> = Events[T]

/** The first event of every connection. The fields of a feature are present only while the feature is on. */
export type Greeting = EventData<'session:ready'> & GreetingAdditions

/** The reply to room:join. The fields of a feature are present only while the feature is on. */
export type JoinReply = ReplyData<'room:join'> & JoinAdditions

/** The error of a failed request, as the server sends it. */
export interface WireError {
  code: string
  message: string
  details?: unknown
}
