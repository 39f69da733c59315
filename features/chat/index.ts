import { defineFeature, fitting, Forbidden, maxPageBytes, readWithJoin } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { v7, validate, version } from 'uuid'
import { config } from './config.ts'
import { events, joinReply, requests } from './messages.ts'
import type { ChatMessage } from './messages.ts'
import { createChat } from './service.ts'
import type { Chat } from './service.ts'
import { chatState, stateName } from './state.ts'

export { config, requests }
export * as errors from './errors.ts'

declare module 'flylive-audio-server/feature' {
  interface FeatureInstance {
    chat: Chat
  }
  interface FeatureSlots {
    chat: Chat
  }
  interface FeatureHooks {
    /** A message was sent. Called only on the server that handled the request. */
    'chat:sent': (roomId: string, message: ChatMessage) => void
    /** A message was deleted. Called only on the server that handled the request. */
    'chat:removed': (roomId: string, id: string) => void
  }
}

/** Maximum size of the chat history in a join reply, in bytes (docs/protocol.md, "Chat"). */
const maxHistoryBytes = 16_384

/** Maximum number of history pages that a user can request per minute. */
const historyPerMinute = 60

/** Adds chat to rooms, with a short history for users who join later. */
export default defineFeature(async function chat (app, { history, messagesPerMinute }) {
  const { hooks, log, messages, metrics, rooms } = app
  const sent = metrics.counter('flylive_chat_messages_total', 'Chat messages sent, by message type', ['type'])
  const state = rooms.roomState.define(stateName, chatState, { durable: true })
  const service = createChat(app, state, history)
  app.decorate('chat', {
    async deleteMessage (roomId, id, by, mayDelete) {
      await service.deleteMessage(roomId, id, by, mayDelete)
      hooks.emit('chat:removed', roomId, id)
    },
    setSlowMode: service.setSlowMode
  } satisfies Chat)
  messages.events(events)
  messages.adds('room:join', joinReply)

  // Message ids sort by time. The counter orders the messages of one millisecond.
  let count = 0
  const limit = { perMinute: messagesPerMinute, perRoom: true }
  messages.on('chat:message', { ...requests['chat:message'], limit }, async ({ content, messageType }, { room, session }) => {
    if (messageType === 'system' && await rooms.roleOf(room.record, session) === 'member') throw new Forbidden('Only the owner and admins of the room may send system messages')
    const { user } = session
    const timestamp = app.clock.now()
    const message: ChatMessage = {
      roomId: room.roomId,
      id: v7({ msecs: timestamp, seq: count++ }),
      userId: user.id,
      userName: user.name,
      ...(user.profile.avatar === undefined ? {} : { avatar: user.profile.avatar }),
      content,
      messageType,
      timestamp
    }
    await service.send(room, session, message)
    sent.inc({ type: messageType })
    hooks.emit('chat:sent', room.roomId, message)
    return { id: message.id, timestamp: message.timestamp }
  })

  messages.on('chat:history', { ...requests['chat:history'], limit: { perMinute: historyPerMinute } }, async ({ before, limit }, { room }) => {
    const all = (await service.readHistory(room.roomId)).map((entry) => JSON.parse(entry) as ChatMessage)
    const end = before === undefined ? all.length : numberBefore(all, before)
    const page = fitting(all.slice(Math.max(end - limit, 0), end).reverse(), maxPageBytes).reverse()
    return { messages: page, nextCursor: page.length < end ? page[0]?.id ?? null : null }
  })

  // Read the slow mode interval synchronously, so that no change falls between the join reply and the events.
  hooks.on('room:join', ({ roomId }) => ({ slowModeSeconds: service.slowModeSeconds(roomId) }) satisfies Pick<z.input<typeof joinReply>, 'slowModeSeconds'>)
  const historyOf = readWithJoin(hooks, async ({ roomId }) => await service.readHistory(roomId))
  hooks.on('room:join', async (room, session) => {
    const entries = await historyOf(room, session).catch((err: unknown) => {
      log.debug({ err, roomId: room.roomId }, 'failed to read the chat history')
      return []
    })
    return { chatHistory: newest(entries).map((entry) => JSON.parse(entry) as ChatMessage) } satisfies Pick<z.input<typeof joinReply>, 'chatHistory'>
  })
  state.onMissed((_room, from, to) => {
    const [before, after] = [from?.intervalMs ?? 0, to?.intervalMs ?? 0]
    return before === after ? [] : [{ type: 'chat:mode', data: { slowModeSeconds: after / 1000 } satisfies Omit<z.input<(typeof events)['chat:mode']>, 'roomId'> }]
  })
}, { name: 'chat', dependencies: ['rooms', 'store'], config })

/**
 * @returns how many messages of a history are older than the message with the given id. If the message was deleted, its
 *   id determines its place. Messages that an earlier version of the server sent have random ids; if such a message was
 *   deleted, its place is unknown, and the result is 0
 */
function numberBefore (history: readonly ChatMessage[], id: string): number {
  const index = history.findIndex((message) => message.id === id)
  if (index !== -1) return index
  return validate(id) && version(id) === 7 ? history.findLastIndex((message) => message.id < id) + 1 : 0
}

/** @returns the newest messages that fit into {@link maxHistoryBytes} */
function newest (entries: readonly string[]): readonly string[] {
  let bytes = 0
  const first = entries.findLastIndex((entry) => (bytes += Buffer.byteLength(entry)) > maxHistoryBytes)
  return entries.slice(first + 1)
}
