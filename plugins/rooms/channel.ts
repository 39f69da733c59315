import type { FastifyInstance } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Bus } from '../cluster/bus.ts'
import { createEvent, eventFromText } from '../connections/face.ts'
import type { OutgoingEvent } from '../connections/face.ts'
import { isCoded, rateLimited } from '../errors/codes.ts'
import type { Publication } from '../store/types.ts'
import type { RoomCloseReason } from './messages.ts'
import type { EmitOptions, LoggedEvent } from './rooms.ts'

/**
 * The first line of a message on a room's channel. The fields of this header determine what the other lines of the
 * message contain. If no field except `except` is set, the message is one event, which is on the second line.
 */
interface RoomHeader {
  /** Id of the session that must not receive the event. */
  except?: string | undefined
  /** Why the room was closed. The other lines are the event and the room's creation time. */
  closed?: RoomCloseReason
  /**
   * Set if room state has changed. The other lines are the events of the change, and then the new version of the state.
   */
  state?: { name: string, from: string, state: unknown }
  /** Set if the message is for the servers, not for the members; see `Rooms.sendToNodes`. */
  node?: NodeMessage
  /**
   * Id of a server that restored the room's data after the store lost it, or that could not tell the other servers about
   * a join or leave.
   */
  restoredBy?: string
}

/** A change of room state, as other servers receive it. */
export interface StateHeader {
  name: string
  /** The version before the change. A server with a different version has missed a change. */
  from: string
  /** Parses the new state. */
  readState (): unknown
}

/** A message from one server to the other servers that have members in the room. */
export interface NodeMessage {
  from: string
  topic: string
  data: unknown
}

/** A message on a room's channel. */
export type RoomMessage =
  { kind: 'event', event: OutgoingEvent, except: string | undefined } |
  { kind: 'closed', createdAt: number, event: OutgoingEvent, reason: RoomCloseReason } |
  { kind: 'state', header: StateHeader, version: string, events: readonly OutgoingEvent[] } |
  { kind: 'restored', nodeId: string } |
  { kind: 'node' } & NodeMessage

export const channelOf = (roomId: string) => `room:${roomId}`

const messageOf = (header: RoomHeader, text: string) => `${JSON.stringify(header)}\n${text}`

/** @param event the `room:closed` event. The time at which the room was created is appended later, as the last line */
export const closedMessage = (event: OutgoingEvent, reason: RoomCloseReason) => messageOf({ closed: reason }, event.text)

export const restoredMessage = (nodeId: string) => messageOf({ restoredBy: nodeId }, '')

export const nodeMessage = (node: NodeMessage) => messageOf({ node }, '')

/**
 * @param change contains the new state as JSON text, which is inserted unchanged. The new version is appended later, as
 *   the last line
 */
export const stateMessage = ({ name, from, state }: { name: string, from: string, state: string }, events: readonly OutgoingEvent[]) =>
  [`{"state":{"name":${JSON.stringify(name)},"from":"${from}","state":${state}}}`, ...events.map(({ text }) => text)].join('\n')

/** Matches the header of a {@link stateMessage}, up to the state. */
const stateStart = /^\{"state":\{"name":"([^"\\]+)","from":"([^"]*)","state":/

/**
 * Reads the header of a {@link stateMessage}. Does not parse the state, because the server that made the change already
 * has it.
 *
 * @returns undefined if the header has a different format, for example because an earlier server version sent it
 */
function stateHeaderOf (header: string): StateHeader | undefined {
  const found = stateStart.exec(header)
  if (!found) return
  const [start, name = '', from = ''] = found
  return { name, from, readState: () => JSON.parse(header.slice(start.length, -2)) as unknown }
}

/** Appends the new version to a {@link stateMessage}. Needed if the store does not append the version. */
export const withVersion = (message: string | undefined, version: string) => message && `${message}\n${version}`

/** Parses a message from a room's channel. Does not parse the events or the room state in the message. */
export function parseMessage (message: string): RoomMessage {
  const end = message.indexOf('\n')
  const firstLine = message.slice(0, end)
  const rest = message.slice(end + 1)
  const stateHeader = stateHeaderOf(firstLine)
  if (stateHeader) return stateChangeOf(stateHeader, rest)
  const header = JSON.parse(firstLine) as RoomHeader
  if (header.closed) {
    const [text = '', createdAt] = rest.split('\n')
    return { kind: 'closed', createdAt: Number(createdAt), event: eventFromText(text), reason: header.closed }
  }
  if (header.state) {
    const { state, ...other } = header.state
    return stateChangeOf({ ...other, readState: () => state }, rest)
  }
  if (header.node) return { kind: 'node', ...header.node }
  if (header.restoredBy !== undefined) return { kind: 'restored', nodeId: header.restoredBy }
  return { kind: 'event', event: eventFromText(rest), except: header.except }
}

function stateChangeOf (header: StateHeader, rest: string): RoomMessage {
  const lines = rest.split('\n')
  return { kind: 'state', header, version: lines.at(-1) ?? '', events: lines.slice(0, -1).map(eventFromText) }
}

// The functions below make a change in the store and publish it, so that the store and the bus do not depend on each
// other. On Redis, one script makes the change and publishes the message, in one round trip. Without Redis, the message
// is delivered after the change.

/**
 * Makes a change in the store and publishes a message about the change.
 *
 * @param message the message to publish; undefined to publish nothing
 * @param change makes the change. Must pass `publish` to the store, which then also publishes the message
 * @param changed called if the store has not published the message. Returns the message to publish, or undefined if
 *   nothing has changed
 * @returns the result of the change, once the message is published
 */
export async function changeAndPublish<R> (
  bus: Pick<Bus, 'encode' | 'publish'>,
  channel: string,
  message: string | undefined,
  change: (publish: Publication | undefined) => Promise<R>,
  changed: (result: R) => string | undefined
): Promise<R> {
  const encoded = message === undefined ? undefined : bus.encode(channel, message)
  const result = await change(encoded)
  const delayed = encoded ? undefined : changed(result)
  if (delayed !== undefined) await bus.publish(channel, delayed)
  return result
}

/**
 * Appends an entry to a log and publishes a message about the entry. If the store cannot be reached, the message is
 * delivered on this server only.
 *
 * @param append makes the store append the entry. Must pass `publish` to the store, and return how many servers
 *   received the message
 */
async function appendAndPublish (
  bus: Pick<Bus, 'track' | 'publish'>,
  channel: string,
  message: string,
  append: (publish: Publication | undefined) => Promise<number>
): Promise<void> {
  const tracked = bus.track(channel, message)
  if (!tracked) {
    // Publish in this turn of the event loop, so that messages stay in order.
    await Promise.all([append(undefined), bus.publish(channel, message)])
    return
  }
  tracked.settle(await append(tracked.encoded).catch(() => 0))
}

/**
 * Like {@link appendAndPublish}, but the store may reject the entry with RATE_LIMITED. In that case, nothing is
 * delivered.
 *
 * @param admitHere called if the store cannot be reached. Throws if the entry is not allowed
 */
async function appendSpaced (
  bus: Pick<Bus, 'track' | 'publish'>,
  channel: string,
  message: string,
  append: (publish: Publication | undefined) => Promise<number>,
  admitHere: () => void
): Promise<void> {
  const tracked = bus.track(channel, message)
  if (!tracked) {
    await append(undefined)
    await bus.publish(channel, message)
    return
  }
  try {
    tracked.settle(await append(tracked.encoded))
  } catch (error) {
    try {
      if (isRateLimited(error)) throw error
      admitHere()
    } catch (rejection) {
      tracked.discard()
      throw rejection
    }
    tracked.settle(0)
  }
}

const isRateLimited = (error: unknown) => isCoded(error) && error.code === 'RATE_LIMITED'

/** Publishes events to all members of a room. */
export interface RoomChannel {
  /**
   * Checks an event against its schema and publishes the event. If publishing fails, the failure is logged.
   *
   * @returns false if the event did not reach the other servers
   */
  publish (roomId: string, type: string, data: object, except?: EmitOptions['except']): Promise<boolean>
  /**
   * Publishes an event and appends an entry to one of the room's logs, in one step if the store supports it.
   *
   * @param owner the name of the log
   */
  publishLogged (owner: string, roomId: string, type: string, data: object, log: LoggedEvent): Promise<void>
  /**
   * Removes an entry from one of the room's logs and publishes an event, in one step if the store supports it.
   *
   * @returns true if the log contained the entry
   * @throws UNAVAILABLE
   */
  publishUnlogged (owner: string, roomId: string, type: string, data: object, entry: string): Promise<boolean>
}

/**
 * Maximum number of `spacing` keys for which this server remembers when the last entry was added. The server needs
 * these times while the store is unavailable.
 */
const maxRemembered = 50_000

export function createRoomChannel ({ bus, clock, log, messages, store }: Pick<FastifyInstance, 'bus' | 'clock' | 'log' | 'messages' | 'store'>): RoomChannel {
  // By spacing key: when the last entry was added, in epoch milliseconds.
  const lastEntries = new LRUCache<string, number>({ maxSize: maxRemembered, sizeCalculation: () => 1 })

  function eventOf (roomId: string, type: string, fields: object): OutgoingEvent {
    const data = { roomId, ...fields }
    messages.checkEvent(type, data)
    return createEvent(type, data)
  }

  return {
    publish (roomId, type, data, except) {
      return bus.publish(channelOf(roomId), messageOf({ except }, eventOf(roomId, type, data).text)).catch((err: unknown) => {
        log.error({ err, roomId }, 'failed to publish to a room')
        return false
      })
    },
    async publishLogged (owner, roomId, type, data, { entry, keep, spacing }) {
      if (!Number.isInteger(keep) || keep < 1) throw new RangeError(`The length of a log must be a whole number of at least 1, not ${keep}`)
      const message = messageOf({}, eventOf(roomId, type, data).text)
      const append = (publish: Publication | undefined) => store.appendLog(roomId, owner, {
        entry, keep, now: clock.now(), publish, ...(spacing ? { spacing: { key: spacing.key, document: spacing.state, field: spacing.field } } : {})
      })
      if (!spacing) return await appendAndPublish(bus, channelOf(roomId), message, append)
      const key = `${owner} ${roomId} ${spacing.key}`
      await appendSpaced(bus, channelOf(roomId), message, append, () => {
        const waitMs = (lastEntries.get(key) ?? -Infinity) + spacing.ms - clock.now()
        if (waitMs > 0) throw rateLimited(waitMs)
      })
      if (spacing.ms > 0) lastEntries.set(key, clock.now())
    },
    async publishUnlogged (owner, roomId, type, data, entry) {
      const channel = channelOf(roomId)
      const message = messageOf({}, eventOf(roomId, type, data).text)
      const tracked = bus.track(channel, message)
      const receivers = await store.removeFromLog(roomId, owner, entry, tracked?.encoded).catch((error: unknown) => {
        tracked?.discard()
        throw error
      })
      if (receivers === undefined) tracked?.discard()
      else if (tracked) tracked.settle(receivers)
      else await bus.publish(channel, message)
      return receivers !== undefined
    }
  }
}
