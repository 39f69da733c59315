import type { Locks } from './locks.ts'

/**
 * Messages between servers, by kind. The part that handles a kind declares it
 * here by module augmentation.
 */
export interface ClusterMessages {}

export type ClusterMessageKind = keyof ClusterMessages

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
}
