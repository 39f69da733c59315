import type { FastifyInstance } from 'fastify'
import { createEvent, eventFromText } from '../connections/face.ts'
import type { OutgoingEvent } from '../connections/face.ts'
import type { RoomCloseReason } from './messages.ts'
import { appendAndPublish } from './publish.ts'
import type { EmitOptions } from './rooms.ts'

/** The first line of a message on a room's channel. The other lines depend on its kind; by default they are one event. */
interface RoomHeader {
  /** The session that does not receive the event. */
  except?: string | undefined
  /** Why the room is closed. The other lines are the event and the time at which the room was created. */
  closed?: RoomCloseReason
  /** Room state has changed. The other lines are its events, and the new version. */
  state?: StateHeader
  /** This server has restored what the store had lost of the room. */
  restoredBy?: string
}

/** A change of room state, as other servers receive it. */
export interface StateHeader {
  name: string
  state: unknown
  /** The version before the change: a subscriber with another one has missed a change. */
  from: string
}

/** Handles what arrives on a room's channel. */
export interface RoomMessageHandlers {
  event (event: OutgoingEvent, except: string | undefined): void
  closed (createdAt: number, event: OutgoingEvent, reason: RoomCloseReason): void
  state (header: StateHeader, version: string, events: readonly OutgoingEvent[]): void
  restored (nodeId: string): void
}

export const channelOf = (roomId: string) => `room:${roomId}`

const messageOf = (header: RoomHeader, text: string) => `${JSON.stringify(header)}\n${text}`

/** @param event `room:closed`; the time at which the room was created follows as the last line */
export const closedMessage = (event: OutgoingEvent, reason: RoomCloseReason) => messageOf({ closed: reason }, event.text)

export const restoredMessage = (nodeId: string) => messageOf({ restoredBy: nodeId }, '')

/** @param header with the state as JSON, which is not serialised a second time; the new version follows as the last line */
export const stateMessage = ({ name, state, from }: StateHeader & { state: string }, events: readonly OutgoingEvent[]) =>
  [`{"state":{"name":${JSON.stringify(name)},"state":${state},"from":"${from}"}}`, ...events.map(({ text }) => text)].join('\n')

/** Adds the last line of a {@link stateMessage}, where the store does not. */
export const withVersion = (message: string | undefined, version: string) => message && `${message}\n${version}`

/** Passes a message to the handler of its kind. */
export function receive (message: string, handlers: RoomMessageHandlers): void {
  const end = message.indexOf('\n')
  const header = JSON.parse(message.slice(0, end)) as RoomHeader
  const rest = message.slice(end + 1)
  if (header.closed) {
    const [text = '', createdAt] = rest.split('\n')
    handlers.closed(Number(createdAt), eventFromText(text), header.closed)
  } else if (header.state) {
    const lines = rest.split('\n')
    handlers.state(header.state, lines.at(-1) ?? '', lines.slice(0, -1).map(eventFromText))
  } else if (header.restoredBy !== undefined) {
    handlers.restored(header.restoredBy)
  } else {
    handlers.event(eventFromText(rest), header.except)
  }
}

/** Publishes events to all members of a room. */
export interface RoomChannel {
  /** Publishes an event; a failure is logged. */
  publish (roomId: string, type: string, data: object, except?: EmitOptions['except']): void
  /** Publishes an event and appends an entry to the room's log, in one step where the store can. */
  publishLogged (roomId: string, type: string, data: object, log: { entry: string, keep: number }): Promise<void>
}

export function createRoomChannel ({ bus, log, store }: Pick<FastifyInstance, 'bus' | 'log' | 'store'>): RoomChannel {
  return {
    publish (roomId, type, data, except) {
      bus.publish(channelOf(roomId), messageOf({ except }, createEvent(type, { roomId, ...data }).text))
        .catch((err: unknown) => log.error({ err, roomId }, 'failed to publish to a room'))
    },
    async publishLogged (roomId, type, data, { entry, keep }) {
      const message = messageOf({}, createEvent(type, { roomId, ...data }).text)
      await appendAndPublish(bus, channelOf(roomId), message, (publish) => store.appendLog(roomId, entry, keep, Date.now(), publish))
    }
  }
}
