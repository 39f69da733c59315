import type { FeatureInstance } from 'flylive-audio-server/feature'
import type { State } from './state.ts'

/** The bus subscriptions of one generation of the feature: one per channel, or one per user. */
export interface Subscriptions {
  /** Resolves when the subscription is active. */
  add (key: string): Promise<void>
  remove (key: string): void
  close (): Promise<void>
}

export interface SubscriptionsOptions {
  state: State
  generation: symbol
  /** Returns the bus topic of a channel or user. */
  topicOf (key: string): string
  /** Handles a message. Called only while the generation is the running generation. */
  receive (key: string, text: string): void
}

export function createSubscriptions ({ bus }: Pick<FeatureInstance, 'bus'>, { state, generation, topicOf, receive }: SubscriptionsOptions): Subscriptions {
  const handlers = new Map<string, (text: string) => void>()
  return {
    async add (key) {
      if (handlers.has(key)) return
      const handler = (text: string) => { if (state.inService === generation) receive(key, text) }
      handlers.set(key, handler)
      await bus.subscribe(topicOf(key), handler)
    },
    remove (key) {
      const handler = handlers.get(key)
      handlers.delete(key)
      if (handler) bus.unsubscribe(topicOf(key), handler)
    },
    async close () {
      await Promise.all([...handlers].map(async ([key, handler]) => await bus.unsubscribe(topicOf(key), handler)))
      handlers.clear()
    }
  }
}
