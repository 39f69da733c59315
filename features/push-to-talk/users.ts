import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'
import type { State } from './state.ts'
import { createSubscriptions } from './subscriptions.ts'

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
  /**
   * Subscribes to the messages for a user who has a radio on this server. If a newer generation of the feature is
   * running, that generation subscribes.
   */
  add (userKey: string): Promise<void>
  remove (userKey: string): void
  publish (user: UserId, message: UserMessage): Promise<boolean>
  /** Subscribes to the messages for all users. Called when this generation becomes the running generation. */
  takeOver (): void
  unsubscribe (): Promise<void>
}

const topicOf = (userKey: string) => `push-to-talk:u:${userKey}`

export interface UsersOptions {
  state: State
  generation: symbol
  receive (userKey: string, message: UserMessage): void
}

export function createUsers (app: Pick<FeatureInstance, 'bus'>, { state, generation, receive }: UsersOptions): Users {
  const subscriptions = createSubscriptions(app, { state, generation, topicOf, receive: (userKey, text) => receive(userKey, JSON.parse(text) as UserMessage) })

  return {
    add: (userKey) => state.subscribeToUser(userKey),
    remove: subscriptions.remove,
    publish: async (user, message) => await app.bus.publish(topicOf(userKeyOf(user)), JSON.stringify(message)),
    takeOver () {
      state.subscribeToUser = subscriptions.add
      for (const userKey of state.users.keys()) subscriptions.add(userKey)
    },
    unsubscribe: subscriptions.close
  }
}
