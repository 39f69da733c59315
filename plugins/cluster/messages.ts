import type { Locks } from './locks.ts'

/** Messages between servers, by kind. The module that handles a kind declares that kind here by module augmentation. */
export interface ClusterMessages {}

/**
 * Requests from one server to another. Each kind maps to the type `{ data, reply }`; both properties are JSON. The
 * module that handles a kind declares that kind here by module augmentation.
 */
export interface ClusterRequests {}

export type ClusterMessageKind = keyof ClusterMessages
export type ClusterRequestKind = keyof ClusterRequests
export type ClusterRequestData<K extends ClusterRequestKind> = ClusterRequests[K] extends { data: infer D } ? D : never
export type ClusterReply<K extends ClusterRequestKind> = ClusterRequests[K] extends { reply: infer R } ? R : never

export interface Cluster extends Locks {
  /**
   * Registers a handler for messages of one kind. The handler receives messages from all servers, including this one. A
   * feature's handlers are called only while their generation is in service, so during a reload, only one generation
   * handles each message.
   *
   * @returns a function that removes the handler; unloading a feature also removes its handlers
   */
  on<K extends ClusterMessageKind> (kind: K, handler: (data: ClusterMessages[K]) => void): () => void
  /**
   * Sends a message to all servers.
   *
   * @returns true if the message was sent to all servers, false if only this server received it
   */
  send<K extends ClusterMessageKind> (kind: K, data: ClusterMessages[K]): Promise<boolean>
  /**
   * Registers the handler for requests of one kind, replacing any earlier handler. The caller receives the handler's
   * return value or the error that the handler throws; an error without a code becomes INTERNAL.
   *
   * @returns a function that removes the handler; unloading a feature also removes its handlers
   */
  answer<K extends ClusterRequestKind> (kind: K, handler: (data: ClusterRequestData<K>) => ClusterReply<K> | Promise<ClusterReply<K>>): () => void
  /**
   * Sends a request to one server, which may be this one.
   *
   * @returns the return value of the handler on the other server
   * @throws the error that the handler threw; UNAVAILABLE if the server does not exist, cannot be reached, has no
   *   handler of that kind, or does not answer in time. If the server does not exist, for example because it was
   *   restarted under a new id, the error has the property `isGone: true`
   */
  ask<K extends ClusterRequestKind> (nodeId: string, kind: K, data: ClusterRequestData<K>, timeoutMs: number): Promise<ClusterReply<K>>
}
