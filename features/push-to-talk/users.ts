import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'
import type { State } from './state.ts'

/**
 * A message about a user, sent to all servers to which the user's radios are connected. All of these servers receive
 * the messages in the same order.
 */
export type UserMessage =
  /** A frame for the user's radios. */
  { kind: 'frame', frame: string, messageId?: string } |
  /** One of the user's radios has connected. */
  { kind: 'login', sessionId: string, deviceId: string }

/** Exchanges messages about radio users between servers. */
export interface Users {
  /** Subscribes to the messages for a user who has a radio on this server. */
  add (userKey: string): Promise<void>
  remove (userKey: string): void
  publish (user: UserId, message: UserMessage): Promise<boolean>
  subscribe (): Promise<void>
  unsubscribe (): Promise<void>
}

const topicOf = (userKey: string) => `push-to-talk:u:${userKey}`

export interface UsersOptions {
  state: State
  generation: symbol
  receive (userKey: string, message: UserMessage): void
}

export function createUsers ({ bus }: Pick<FeatureInstance, 'bus'>, { state, generation, receive }: UsersOptions): Users {
  const handlers = new Map<string, (text: string) => void>()

  async function add (userKey: string): Promise<void> {
    if (handlers.has(userKey)) return
    const handler = (text: string) => {
      if (state.inService === generation) receive(userKey, JSON.parse(text) as UserMessage)
    }
    handlers.set(userKey, handler)
    await bus.subscribe(topicOf(userKey), handler)
  }

  function remove (userKey: string): void {
    const handler = handlers.get(userKey)
    handlers.delete(userKey)
    if (handler) bus.unsubscribe(topicOf(userKey), handler)
  }

  return {
    add,
    remove,
    publish: async (user, message) => await bus.publish(topicOf(userKeyOf(user)), JSON.stringify(message)),
    async subscribe () {
      await Promise.all(state.users.keys().map(add))
    },
    async unsubscribe () {
      await Promise.all([...handlers].map(async ([userKey, handler]) => await bus.unsubscribe(topicOf(userKey), handler)))
      handlers.clear()
    }
  }
}
