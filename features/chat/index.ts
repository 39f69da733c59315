import { randomUUID } from 'node:crypto'
import { defineFeature, Forbidden } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { events, joinReply, requests } from './messages.ts'
import type { ChatMessage } from './messages.ts'

export { config, requests }

/** Maximum size of the history in a join reply, in bytes: a fraction of the send buffer of a socket. */
const maxHistoryBytes = 131_072

/** Chat messages in rooms, with a short history for later members. */
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
      timestamp: Date.now()
    }
    if (keep > 0) await rooms.emitLogged(roomId, 'chat:message', message, { entry: JSON.stringify(message), keep })
    else {
      rooms.touch(roomId)
      rooms.emit(roomId, 'chat:message', message)
    }
    sent.inc({ type: messageType })
    return { id: message.id, timestamp: message.timestamp }
  })

  hooks.on('room:join', async ({ roomId }) => {
    if (keep === 0) return { chatHistory: [] }
    const entries = await store.readLog(roomId).catch((err: unknown) => {
      log.debug({ err, roomId }, 'chat history not readable')
      return []
    })
    // Another server may be configured to keep more.
    return { chatHistory: newest(entries.slice(-keep)).map((entry) => JSON.parse(entry) as ChatMessage) } satisfies z.input<typeof joinReply>
  })
}, { name: 'chat', dependencies: ['rooms', 'store'], config })

/** @returns the newest messages that fit into {@link maxHistoryBytes} */
function newest (entries: readonly string[]): readonly string[] {
  let bytes = 0
  const first = entries.findLastIndex((entry) => (bytes += Buffer.byteLength(entry)) > maxHistoryBytes)
  return entries.slice(first + 1)
}
