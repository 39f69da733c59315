import type { Test } from 'tap'
import type { ChatMessage } from '../../../features/chat/messages.ts'
import { build } from '../../support/build.ts'
import type { StoreKind, TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

/** Two servers of one Redis; one server, twice, where everything is in its memory. */
export async function pair (t: Test, kind: StoreKind, env: Record<string, string>): Promise<[TestServer, TestServer]> {
  const server = await build(t, { env: { FEATURES: 'auth,chat', ...env } })
  return [server, kind === 'redis' ? await build(t, { env: { FEATURES: 'auth,chat', ...env } }) : server]
}

/** The messages that came to a client, in order. */
export const heard = (client: TestClient): ChatMessage[] => client.events
  .filter(({ type }) => type === 'chat:message')
  .map(({ data }) => data as ChatMessage)

/** Joins a room. @returns what was written there before, as the reply tells it */
export async function historyOf (client: TestClient, roomId = 'r1'): Promise<ChatMessage[]> {
  const { chatHistory } = await client.ok('room:join', { roomId })
  return chatHistory as ChatMessage[]
}

/** Waits until a client has heard of a message, and so of all that were told before it. */
export async function hears (client: TestClient, id: unknown): Promise<void> {
  await client.event('chat:message', (data) => data.id === id)
}
