import { isCoded, userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, LocalRoom, Session, UserId, z } from 'flylive-audio-server/feature'
import { MessageNotFound } from './errors.ts'
import type { ChatMessage, events } from './messages.ts'
import { intervalField, stateName } from './state.ts'
import type { ChatStateHandle } from './state.ts'

/** The chat operations that other features can call. */
export interface Chat {
  /**
   * Deletes a message from the history, and notifies all members so that their clients remove the message.
   *
   * @param by the user who deletes the message
   * @param mayDelete called with the author of the message; can throw an error to prevent the deletion
   * @throws MESSAGE_NOT_FOUND if the history does not contain the message; UNAVAILABLE
   */
  deleteMessage (roomId: string, id: string, by: UserId, mayDelete: (authorId: UserId) => void): Promise<void>
  /**
   * Sets the minimum time between two messages from the same member. The owner and admins are exempt.
   *
   * @param seconds 0 turns slow mode off
   * @returns the previous value
   * @throws ROOM_NOT_FOUND, UNAVAILABLE
   */
  setSlowMode (roomId: string, seconds: number): Promise<number>
}

/**
 * A message in the log of a room. If the history is disabled, the log contains only the id and the author of the
 * message.
 */
type LogEntry = ChatMessage | Pick<ChatMessage, 'id' | 'userId'>

/** The chat operations of this feature, including those that other features cannot call. */
export interface ChatService extends Chat {
  /**
   * Sends a message to the room.
   *
   * @throws RATE_LIMITED (details `{retryAfterMs}`) if slow mode requires the sender to wait
   */
  send (room: LocalRoom, session: Session, message: ChatMessage): Promise<void>
  /**
   * @returns the messages of a room's history as JSON, oldest first
   * @throws UNAVAILABLE
   */
  readHistory (roomId: string): Promise<string[]>
  /**
   * Returns the slow mode interval in seconds, or 0 if slow mode is off. Reads only this server's memory, so the room
   * must have members on this server.
   */
  slowModeSeconds (roomId: string): number
}

/**
 * Number of message ids that the log of a room keeps if the history is disabled. Only these messages can be deleted.
 */
const keptIds = 200

/**
 * @param history maximum number of messages in the history of a room. If 0, the server stores only the ids and authors
 *   of messages
 */
export function createChat ({ rooms, store }: Pick<FeatureInstance, 'rooms' | 'store'>, state: ChatStateHandle, history: number): ChatService {
  const keep = history > 0 ? history : keptIds
  const parse = (entry: string) => JSON.parse(entry) as LogEntry
  const slowModeSeconds = (roomId: string) => (state.peek(roomId)?.intervalMs ?? 0) / 1000

  return {
    async send ({ roomId, record }, session, message) {
      const entry = JSON.stringify(history > 0 ? message : { id: message.id, userId: message.userId } satisfies LogEntry)
      const spacing = { key: userKeyOf(message.userId), state: stateName, field: intervalField, ms: state.peek(roomId)?.intervalMs ?? 0 }
      try {
        await rooms.emitLogged(roomId, 'chat:message', message, { entry, keep, spacing })
      } catch (error) {
        // Look up the role only after slow mode has rejected a message, because most messages are not rejected.
        if (!isCoded(error) || error.code !== 'RATE_LIMITED' || await rooms.roleOf(record, session) === 'member') throw error
        await rooms.emitLogged(roomId, 'chat:message', message, { entry, keep })
      }
    },
    async readHistory (roomId) {
      if (history === 0) return []
      // Another server, on which the history is disabled, may have stored messages without their content.
      return (await store.readLog(roomId, history)).filter((entry) => entry.includes('"content":'))
    },
    slowModeSeconds,
    async deleteMessage (roomId, id, by, mayDelete) {
      const entry = (await store.readLog(roomId)).findLast((one) => parse(one).id === id)
      if (entry === undefined) throw new MessageNotFound()
      mayDelete(parse(entry).userId)
      const deleted = await rooms.emitUnlogged(roomId, 'chat:deleted', { id, by } satisfies Omit<z.input<(typeof events)['chat:deleted']>, 'roomId'>, entry)
      if (!deleted) throw new MessageNotFound()
    },
    setSlowMode: async (roomId, seconds) => await state.change(roomId, (current) => {
      const intervalMs = seconds * 1000
      const before = current?.intervalMs ?? 0
      if (before === intervalMs) return { result: seconds }
      return {
        state: { intervalMs },
        events: [{ type: 'chat:mode', data: { slowModeSeconds: seconds } satisfies Omit<z.input<(typeof events)['chat:mode']>, 'roomId'> }],
        result: before / 1000
      }
    })
  }
}
