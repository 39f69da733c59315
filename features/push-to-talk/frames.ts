import { decode, Encoder } from '@msgpack/msgpack'
import { findTextIssue } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'

// The wire format of VoicePing radios: MessagePack arrays.

export const channelTypes = { group: 0, private: 1 } as const

export const messageTypes = {
  unknown: 0,
  start: 1,
  stop: 2,
  audio: 3,
  connection: 4,
  status: 5,
  startAck: 6,
  stopAck: 7,
  startFailed: 8,
  loginDuplicated: 9,
  userUpdate: 10,
  userDelete: 11,
  channelUpdate: 12,
  channelDelete: 13,
  trialExpired: 14,
  userAdd: 15,
  userRemove: 16,
  text: 17,
  image: 18,
  offline: 19,
  delivered: 20,
  read: 21,
  textAck: 22,
  interactive: 23,
  interactiveAck: 24,
  connectionTest: 25,
  connectionAck: 26,
  unauthorizedGroup: 27
} as const

const maxType = 27
const maxIdLength = 128
/** Maximum number of elements of an array or map in a payload. */
const maxItems = 1024
/** Maximum nesting depth of a payload. */
const maxDepth = 32

/** A message. `toId` identifies a user in private messages and a channel in group messages. */
export interface Frame {
  channelType: 0 | 1
  messageType: number
  fromId: UserId
  toId: UserId
  /** Present if the frame's array has six elements. */
  messageId?: unknown
  payload: unknown
}

/** @returns the value as an id; 0 if the value is missing; undefined if the value is not a valid id */
function idFrom (value: unknown): UserId | undefined {
  if (value === undefined || value === null || value === '') return 0
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined
  return typeof value === 'string' && value.length <= maxIdLength ? value : undefined
}

/** @returns whether a value is nested more than `depth` levels deep */
function isDeeper (value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false
  return depth === 0 || Object.values(value).some((part) => isDeeper(part, depth - 1))
}

/** @returns the frame; undefined if the bytes are not a valid frame or the frame contains text that cannot be stored */
export function decodeFrame (data: Uint8Array): Frame | undefined {
  let array: unknown
  try {
    array = decode(data, { maxArrayLength: maxItems, maxMapLength: maxItems })
  } catch {
    return
  }
  if (!Array.isArray(array) || array.length < 2 || array.length > 6) return
  const [channelType, messageType, from, to] = array as unknown[]
  if (channelType !== 0 && channelType !== 1) return
  if (!Number.isInteger(messageType) || (messageType as number) < 0 || (messageType as number) > maxType) return
  const [fromId, toId] = [idFrom(from), idFrom(to)]
  if (fromId === undefined || toId === undefined) return
  if (isDeeper(array, maxDepth) || findTextIssue(array)) return
  const head = { channelType, messageType: messageType as number, fromId, toId } as const
  return array.length < 6 ? { ...head, payload: array[4] } : { ...head, messageId: array[4], payload: array[5] }
}

const encoder = new Encoder({ ignoreUndefined: true })

export function encodeFrame ({ channelType, messageType, fromId, toId, messageId, payload }: Frame): Uint8Array {
  const head = [channelType, messageType, fromId, toId]
  return encoder.encode(messageId === undefined || messageId === null ? [...head, payload ?? null] : [...head, messageId, payload ?? null])
}

/** @returns a payload as text: bytes are decoded as UTF-8, other values are encoded as JSON */
export function textOf (payload: unknown): string {
  if (payload === undefined || payload === null) return ''
  if (typeof payload === 'string') return payload
  if (payload instanceof Uint8Array) return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString()
  return typeof payload === 'object' ? JSON.stringify(payload) : String(payload)
}

/** @returns the text of a TEXT message, whose payload is `{"text":"…"}` or plain text */
export function plainText (payload: unknown): string {
  const text = textOf(payload)
  try {
    const parsed = JSON.parse(text) as { text?: unknown } | null
    return typeof parsed?.text === 'string' ? parsed.text : text
  } catch {
    return text
  }
}

/** @returns a talk's message id. Times are in epoch milliseconds */
export const talkIdOf = ({ channelType, fromId, toId, startedAt }: Pick<Frame, 'channelType' | 'fromId' | 'toId'> & { startedAt: number }, now: number): string =>
  `${channelType}_${messageTypes.audio}_${toId}_${fromId}_${now}_${now - startedAt}ms.opus`

/** The key of a channel: its id as text. */
export const channelKey = (id: UserId): string => String(id)

/**
 * @returns the channel id in frames that the server creates: a number if the key is an integer, otherwise the key
 *   itself
 */
export function channelIdOf (key: string): UserId {
  const number = Number(key)
  return Number.isSafeInteger(number) && String(number) === key ? number : key
}
