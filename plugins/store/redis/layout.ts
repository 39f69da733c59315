import { LRUCache } from 'lru-cache'
import { nodeKey } from '../../cluster/leases.redis.ts'
import type { Profile } from '../../connections/session.ts'
import type { Ban, Publication, RoomRecord, StoredDocument } from '../types.ts'

// The keys and values of rooms in Redis. Each room has these keys, where … stands for msab:room:{<room id>}:
//   …           hash: meta (JSON of the record), pin (hash), activity (ms), producers:<node>,
//               restored (when the room was written back after a loss, in ms, on Redis's clock)
//   …:users     sorted set: user → place in the order of arrival (ms, or the last place + 1)
//   …:profiles  hash: user → profile JSON
//   …:listed    "<number of users> <place of the last one> <profiles of the first users to arrive, JSON, comma-separated>"
//   …:refs      hash: user → number of sockets
//   …:sessions  hash: "<node> <session>" → user
//   …:docs      hash: document name → "<version> <JSON>"
//   …:logs      set: names of the room's logs
//   …:logs:<n>  list: entries of a log
//   …:closed    createdAt of the newest closed room with that id (ms); expires after ten minutes
//   …:ban:<u>   a ban: "<end (ms)> <JSON of userId and by>"; expires when it ends. Older servers write only the end
//   …:bans      sorted set: banned users, all with score 0, so sorted by user
//   …:back:<u>  set if the user's connection broke in a locked room: createdAt of that room (ms). The user may return
//               until the key expires. Older servers write 1
//   …:out:<u>   set if the user was kicked; expires, and is deleted when the user joins again. While this key exists,
//               …:back:<u> is not set, and the user does not count as a member
//   …:last:<l>:<k>  when the last entry with key k was added to log l (ms); expires
//   …:pin:<u>   number of wrong PINs of the user in the current window
//   …:pins      number of all wrong PINs in the current window
// msab:pins:<a> is the number of wrong PINs from an address in the current window, across all rooms. In scripts with
// several keys, all keys contain the room's id, except msab:pins:<a> and the list of empty rooms.

export const roomsKey = 'msab:rooms'
export const emptyRoomsKey = 'msab:rooms:empty'

export const roomKey = (roomId: string) => `msab:room:{${roomId}}`
/** The keys that are deleted when a room is removed. In addition, the script deletes the keys of the room's logs. */
export const roomKeys = (roomId: string) => {
  const key = roomKey(roomId)
  return [key, ...memberKeys(roomId), documentsKey(roomId), logsKey(roomId)]
}
/** The keys that hold a room's members. Redis can lose some of these keys and keep the others. */
export const memberKeys = (roomId: string) => [usersKey(roomId), profilesKey(roomId), `${roomKey(roomId)}:refs`, `${roomKey(roomId)}:sessions`]
export const usersKey = (roomId: string) => `${roomKey(roomId)}:users`
export const profilesKey = (roomId: string) => `${roomKey(roomId)}:profiles`
export const documentsKey = (roomId: string) => `${roomKey(roomId)}:docs`
export const logsKey = (roomId: string) => `${roomKey(roomId)}:logs`
export const logKey = (roomId: string, log: string) => `${logsKey(roomId)}:${log}`
export const closedKey = (roomId: string) => `${roomKey(roomId)}:closed`
export const banKey = (roomId: string, userKey: string) => `${roomKey(roomId)}:ban:${userKey}`
export const bansKey = (roomId: string) => `${roomKey(roomId)}:bans`
export const backKey = (roomId: string, userKey: string) => `${roomKey(roomId)}:back:${userKey}`
export const outKey = (roomId: string, userKey: string) => `${roomKey(roomId)}:out:${userKey}`
export const lastEntryKey = (roomId: string, log: string, key: string) => `${roomKey(roomId)}:last:${log}:${key}`
export const wrongPinsKey = (roomId: string, userKey: string) => `${roomKey(roomId)}:pin:${userKey}`
export const wrongPinsOfRoomKey = (roomId: string) => `${roomKey(roomId)}:pins`
/**
 * @param address the key of an address; undefined if the address is unknown, in which case wrong PINs are not counted
 *   per address
 */
export const wrongPinsOfAddressKey = (address: string | undefined) => `msab:pins:${address ?? ''}`
export const nodeRoomsKey = (nodeId: string) => `${nodeKey(nodeId)}:rooms`

/** The field of a session in the room's `sessions` hash. */
export const sessionField = (nodeId: string, sessionId: string) => `${nodeId} ${sessionId}`

/** @param text JSON of a record. Older servers write records without `options`. */
export const parseRecord = (text: string): RoomRecord => ({ options: {}, ...JSON.parse(text) as Omit<RoomRecord, 'options'> })

/** @param text JSON of a profile */
export const parseProfile = (text: string): Profile => JSON.parse(text) as Profile

/**
 * Caches parsed lists of profiles by their JSON text, because most joins read the same list. The cached texts have at
 * most 4 Mi (2^22) characters in total.
 */
const lists = new LRUCache<string, readonly Readonly<Profile>[]>({ maxSize: 2 ** 22, sizeCalculation: (_profiles, text) => text.length + 1 })

/** @param text the value of the key `listed` */
export function parseListed (text: string): readonly Readonly<Profile>[] {
  const known = lists.get(text)
  if (known) return known
  const profiles = (JSON.parse(`[${text.slice(text.indexOf(' ', text.indexOf(' ') + 1))}]`) as Profile[]).map((profile) => Object.freeze(profile))
  lists.set(text, profiles)
  return profiles
}

/** @param text the value of a {@link banKey} */
export function parseBan (userKey: string, text: string): Ban {
  const space = text.indexOf(' ')
  const { userId, by } = (space === -1 ? { userId: userKey, by: null } : JSON.parse(text.slice(space + 1))) as Pick<Ban, 'userId' | 'by'>
  return { userId, until: Number.parseInt(text), by }
}

/** The channel and payload for a script that publishes. If both are empty, the script publishes nothing. */
export const publishArgs = (publish: Publication | undefined) => [publish?.channel ?? '', publish?.payload ?? '']

/** @param text `<version> <JSON>` */
export function parseDocument (text: string): StoredDocument {
  const space = text.indexOf(' ')
  return { version: text.slice(0, space), state: text.slice(space + 1) }
}

/** @param fields alternating names and documents, as HGETALL returns them in a script */
export function parseDocuments (fields: readonly string[]): Map<string, StoredDocument> {
  const documents = new Map<string, StoredDocument>()
  for (let i = 0; i < fields.length; i += 2) documents.set(fields[i] as string, parseDocument(fields[i + 1] as string))
  return documents
}
