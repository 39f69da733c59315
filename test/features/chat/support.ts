import type { Test } from 'tap'
import type { ChatMessage } from '../../../features/chat/messages.ts'
import { build } from '../../support/build.ts'
import type { StoreKind, TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

/** Starts two servers that share one Redis. For stores without Redis, returns the same server twice. */
export async function pair (t: Test, kind: StoreKind, env: Record<string, string>): Promise<[TestServer, TestServer]> {
  const server = await build(t, { env: { FEATURES: 'auth,chat', ...env } })
  return [server, kind === 'redis' ? await build(t, { env: { FEATURES: 'auth,chat', ...env } }) : server]
}

export const messagesOf = (client: TestClient): ChatMessage[] => client.events
  .filter(({ type }) => type === 'chat:message')
  .map(({ data }) => data as ChatMessage)

/**
 * Joins a room.
 *
 * @returns the history in the reply
 */
export async function historyOf (client: TestClient, roomId = 'r1'): Promise<ChatMessage[]> {
  const { chatHistory } = await client.ok('room:join', { roomId })
  return chatHistory as ChatMessage[]
}

/**
 * Joins a room and requests all earlier messages page by page.
 *
 * @returns the whole history, oldest first
 */
export async function wholeHistoryOf (client: TestClient): Promise<ChatMessage[]> {
  const history = await historyOf(client)
  for (let before: unknown = history[0]?.id ?? null; before !== null;) {
    const page = await client.ok('chat:history', { before, limit: 100 })
    history.unshift(...page.messages as ChatMessage[])
    before = page.nextCursor
  }
  return history
}

/** Waits until a client has received a message, and therefore all earlier messages. */
export async function receives (client: TestClient, id: unknown): Promise<void> {
  await client.event('chat:message', (data) => data.id === id)
}
