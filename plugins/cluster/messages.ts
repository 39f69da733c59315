import type { Locks } from './locks.ts'

/**
 * Messages between servers, by kind. The part that handles a kind declares it
 * here by module augmentation.
 */
export interface ClusterMessages {}

/**
 * Requests from one server to another, by kind: `{ data, reply }`, both JSON. The
 * part that answers a kind declares it here by module augmentation.
 */
export interface ClusterRequests {}

export type ClusterMessageKind = keyof ClusterMessages
export type ClusterRequestKind = keyof ClusterRequests
export type ClusterRequestData<K extends ClusterRequestKind> = ClusterRequests[K] extends { data: infer D } ? D : never
export type ClusterReply<K extends ClusterRequestKind> = ClusterRequests[K] extends { reply: infer R } ? R : never

export interface Cluster extends Locks {
  /**
   * Handles the messages of one kind from any server, this one included.
   *
   * @returns a function that removes the handler; a feature's handlers are removed with it
   */
  on<K extends ClusterMessageKind> (kind: K, handler: (data: ClusterMessages[K]) => void): () => void
  /**
   * Sends a message to all servers.
   *
   * @returns true if it was sent to all, false if only this one got it
   */
  send<K extends ClusterMessageKind> (kind: K, data: ClusterMessages[K]): Promise<boolean>
  /**
   * Answers the requests of one kind, with what the handler returns. The latest
   * handler of a kind answers. An error with a code reaches the caller; any other
   * arrives as INTERNAL.
   *
   * @returns a function that removes the handler; a feature's handlers are removed with it
   */
  answer<K extends ClusterRequestKind> (kind: K, handler: (data: ClusterRequestData<K>) => ClusterReply<K> | Promise<ClusterReply<K>>): () => void
  /**
   * Sends a request to one server, which may be this one.
   *
   * @returns what the server's handler returned
   * @throws what the handler threw; UNAVAILABLE if there is no such server, if it
   *   has no handler of that kind or does not answer in time, or if it cannot be reached
   */
  ask<K extends ClusterRequestKind> (nodeId: string, kind: K, data: ClusterRequestData<K>, timeoutMs: number): Promise<ClusterReply<K>>
}
