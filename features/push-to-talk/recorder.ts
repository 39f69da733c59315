import { Readable } from 'node:stream'
import { NotFound } from 'flylive-audio-server/feature'
import type { BlobInfo, FeatureInstance } from 'flylive-audio-server/feature'
import { oggOpus } from './opus.ts'

/** Stores talks (radio transmissions) as Ogg Opus files. Each file is named after the talk's message id. */
export interface Recorder {
  /** Resolves when the talk is stored durably. Does nothing if there are no packets. */
  keep (messageId: string, packets: readonly Uint8Array[]): Promise<void>
  /** @returns the stored talks */
  list (): Promise<{ messageId: string, bytes: number, createdAt: number }[]>
  /** @throws NOT_FOUND */
  read (messageId: string): Promise<Readable>
  delete (messageId: string): Promise<void>
  /** Deletes the talks that are older than `keptMs`. */
  expire (): Promise<void>
}

const folder = 'push-to-talk/talks'
const isName = (text: string) => /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/.test(text)
const encodedPrefix = 'id.'

/**
 * Returns the blob key of a talk. The message id is encoded if necessary, because it contains user ids, which may have
 * characters that are not allowed in blob keys.
 */
function keyOf (messageId: string): string {
  if (isName(messageId) && !messageId.startsWith(encodedPrefix)) return `${folder}/${messageId}`
  const encoded = encodedPrefix + Buffer.from(messageId).toString('base64url')
  return [folder, ...encoded.match(/.{1,120}/g) ?? []].join('/')
}

function messageIdOf ({ key }: BlobInfo): string {
  const name = key.slice(folder.length + 1)
  return name.startsWith(encodedPrefix) ? Buffer.from(name.slice(encodedPrefix.length).replaceAll('/', ''), 'base64url').toString() : name
}

/** @param keptMs how long recorded talks are stored, in milliseconds */
export function createRecorder ({ blobs, clock }: Pick<FeatureInstance, 'blobs' | 'clock'>, keptMs: number): Recorder {
  return {
    async keep (messageId, packets) {
      if (packets.length > 0) await blobs.put(keyOf(messageId), Readable.from([oggOpus(packets)]))
    },
    list: async () => (await blobs.list(folder)).map((blob) => ({ messageId: messageIdOf(blob), bytes: blob.bytes, createdAt: Math.round(blob.modifiedAt) })),
    async read (messageId) {
      const stream = await blobs.get(keyOf(messageId))
      if (!stream) throw new NotFound(messageId)
      return stream
    },
    delete: (messageId) => blobs.delete(keyOf(messageId)),
    async expire () {
      for (const { key, modifiedAt } of await blobs.list(folder)) if (modifiedAt < clock.now() - keptMs) await blobs.delete(key)
    }
  }
}
