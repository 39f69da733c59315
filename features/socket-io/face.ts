import { parseClientJson, validationFailed } from 'flylive-audio-server/feature'
import type { Face, FaceEvent, ParsedMessage, WireError } from 'flylive-audio-server/feature'
import { createPacket, packetType } from './packets.ts'
import type { Packet } from './packets.ts'

/** Earlier names of request fields, which clients may still send, by request type. */
const olderNames: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'chat:message': { type: 'messageType' }
}

/** The requests whose ack has the reply's fields at the top level, next to `success`, instead of in `data`. */
const flatReplies: ReadonlySet<string> = new Set(['room:join'])
/** This suffix is added to the id of each request in {@link flatReplies}. */
const flatMark = '/flat'

const maxTypeLength = 128
/** The start of every event in the native JSON format, up to the event type. */
const eventStart = '{"type":"'
const beforeData = ',"data":'

/**
 * Converts between Socket.IO packets and the server's messages. An event packet from a client is a request whose type
 * is the event name. A reply becomes an ack packet, and a server event becomes an event packet.
 */
export const socketIoFace: Face<Packet> = {
  name: 'socket.io',
  parse (data) {
    const packet = String(data)
    const start = packet.indexOf('[')
    const ackId = packet.slice(packetType.event.length, Math.max(start, packetType.event.length))
    if (start === -1 || !/^\d{0,15}$/.test(ackId)) throw invalid('The packet is not an event in the namespace /')
    const id = ackId === '' ? undefined : ackId
    try {
      return parseArguments(id, parseClientJson(packet.slice(start)))
    } catch (error) {
      return { id, error: error as Error }
    }
  },
  event: (event) => createPacket(packetType.event + eventArguments(event)),
  reply (id, outcome) {
    const ackId = String(id)
    const isFlat = ackId.endsWith(flatMark)
    const ack = outcome.ok ? success(outcome.data, isFlat) : failure(outcome.error as WireError)
    return createPacket(`${packetType.ack}${isFlat ? ackId.slice(0, -flatMark.length) : ackId}${JSON.stringify([ack])}`)
  }
}

const invalid = (message: string) => validationFailed([{ path: [], message }])

/** @param value an array of the event name and the arguments; only the first argument is used */
function parseArguments (id: string | undefined, value: unknown): ParsedMessage {
  const [type, payload] = Array.isArray(value) ? value as unknown[] : []
  if (typeof type !== 'string' || type === '' || type.length > maxTypeLength) throw invalid(`The event name must be a string of 1 to ${maxTypeLength} characters`)
  const data = payload ?? {}
  if (typeof data !== 'object' || Array.isArray(data)) return { id, type, error: invalid('The payload must be an object') }
  return {
    id: id !== undefined && flatReplies.has(type) ? id + flatMark : id,
    type,
    data: withNewNames(type, data as Record<string, unknown>)
  }
}

function withNewNames (type: string, data: Record<string, unknown>): Record<string, unknown> {
  const names = Object.hasOwn(olderNames, type) ? olderNames[type] : undefined
  if (!names) return data
  const renamed = Object.entries(names).filter(([older]) => data[older] !== undefined).map(([older, name]) => [name, data[older]])
  return { ...Object.fromEntries(renamed) as object, ...data }
}

/**
 * Where possible, reuses the event's existing JSON instead of serialising the event again.
 *
 * @returns a JSON array of the event name and the payload
 */
function eventArguments (event: FaceEvent): string {
  const { text } = event
  const end = text.indexOf('"', eventStart.length)
  const type = text.slice(eventStart.length, end)
  if (text.startsWith(eventStart) && !type.includes('\\') && text.startsWith(beforeData, end + 1)) {
    return `["${type}",${text.slice(end + 1 + beforeData.length, -1)}]`
  }
  return JSON.stringify(event.data === undefined ? [event.type] : [event.type, event.data])
}

function success (data: unknown, isFlat: boolean): object {
  return isFlat ? { success: true, ...data as object } : { success: true, data }
}

function failure ({ message, code, details }: WireError): object {
  return { success: false, error: message, code, ...(details === undefined ? {} : { details }) }
}
