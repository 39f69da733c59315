import { randomUUID } from 'node:crypto'
import { defineFeature, fitting, Forbidden, maxPageBytes } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { events, joinReply, requests } from './messages.ts'
import type { ChatMessage } from './messages.ts'

export { config, requests }

/** Maximum size of the history in a join reply, in bytes (protocol.md, section 7, "Big events"). */
const maxHistoryBytes = 16_384

/** Rate limit: history pages per user per minute. */
const historyPerMinute = 60

/** Adds chat to rooms, with a short history for users who join later. */
export default defineFeature(async function chat (app, { history: keep, messagesPerMinute }) {
  const { hooks, log, messages, metrics, rooms, store } = app
  const sent = metrics.counter('flylive_chat_messages_total', 'Chat messages sent, by kind', ['type'])
  messages.events(events)
  messages.adds('room:join', joinReply)

  const limit = { perMinute: messagesPerMinute, perRoom: true }
  messages.on('chat:message', { ...requests['chat:message'], limit }, async ({ content, messageType }, { room, session }) => {
    if (messageType === 'system' && await rooms.roleOf(room.record, session) === 'member') throw new Forbidden('Only the owner and admins of the room may send system messages')
    const { roomId } = room
    const { user } = session
    const message: ChatMessage = {
      roomId,
      id: randomUUID(),
      userId: user.id,
      userName: user.name,
      ...(user.profile.avatar === undefined ? {} : { avatar: user.profile.avatar }),
      content,
      messageType,
      timestamp: app.clock.now()
    }
    if (keep > 0) await rooms.emitLogged(roomId, 'chat:message', message, { entry: JSON.stringify(message), keep })
    else {
      rooms.touch(roomId)
      rooms.emit(roomId, 'chat:message', message)
    }
    sent.inc({ type: messageType })
    return { id: message.id, timestamp: message.timestamp }
  })

  /** @returns at most `keep` messages of a room, oldest first; another server may keep more in the log */
  const readHistory = async (roomId: string) => keep === 0 ? [] : (await store.readLog(roomId)).slice(-keep)

  messages.on('chat:history', { ...requests['chat:history'], limit: { perMinute: historyPerMinute } }, async ({ before, limit }, { room }) => {
    const all = (await readHistory(room.roomId)).map((entry) => JSON.parse(entry) as ChatMessage)
    const end = before === undefined ? all.length : Math.max(all.findIndex(({ id }) => id === before), 0)
    const page = fitting(all.slice(Math.max(end - limit, 0), end).reverse(), maxPageBytes).reverse()
    return { messages: page, nextCursor: page.length < end ? page[0]?.id ?? null : null }
  })

  hooks.on('room:join', async ({ roomId }) => {
    const entries = await readHistory(roomId).catch((err: unknown) => {
      log.debug({ err, roomId }, 'chat history not readable')
      return []
    })
    return { chatHistory: newest(entries).map((entry) => JSON.parse(entry) as ChatMessage) } satisfies z.input<typeof joinReply>
  })
}, { name: 'chat', dependencies: ['rooms', 'store'], config })

/** @returns the newest messages that fit into {@link maxHistoryBytes} */
function newest (entries: readonly string[]): readonly string[] {
  let bytes = 0
  const first = entries.findLastIndex((entry) => (bytes += Buffer.byteLength(entry)) > maxHistoryBytes)
  return entries.slice(first + 1)
}
