import { text } from 'node:stream/consumers'
import { userId, z } from 'flylive-audio-server/feature'
import type { UserId } from 'flylive-audio-server/feature'
import type { RecordingRecord } from './records.ts'
import type { Storage } from './storage.ts'
import { timelineName } from './thread-recording.ts'

/** Milliseconds since the start of the recording. */
const at = z.int().describe('Milliseconds since the start of the recording')

/** An entry of a recording's timeline. */
export const timelineEntry = z.discriminatedUnion('type', [
  z.object({ at, type: z.literal('speakers'), userIds: z.array(userId) }).describe('The active speakers from this time on'),
  z.object({ at, type: z.literal('seat'), seatIndex: z.int(), userId: userId.nullable() }).describe('The new occupant of a seat; null if the seat became free'),
  z.object({ at, type: z.literal('chat'), id: z.string(), userId, name: z.string().nullable(), content: z.string() }),
  z.object({ at, type: z.literal('user'), userId, name: z.string().nullable() }).describe('The name of a speaker. The timeline has one such entry per user')
])
export type TimelineEntry = z.output<typeof timelineEntry>

const storedEntry = z.union([timelineEntry, z.object({ at, type: z.literal('chat:removed'), id: z.string() })])

/** Maximum number of bytes that are read from a timeline. */
const maxBytes = 40 * 1024 * 1024

/**
 * @returns the timeline of a recording, without deleted chat messages
 * @throws UNAVAILABLE
 */
export async function readTimeline (storage: Storage, record: RecordingRecord): Promise<TimelineEntry[]> {
  const stream = await storage.read(record, timelineName, { first: 0, last: maxBytes }).catch((error: unknown) => {
    if ((error as { status?: number }).status === 416) return undefined
    throw error
  })
  if (!stream) return []
  const lines = (await text(stream)).split('\n')
  // After a crash, the last line may be incomplete.
  const entries = lines.flatMap((line) => {
    try {
      return [storedEntry.parse(JSON.parse(line))]
    } catch {
      return []
    }
  })
  const removed = new Set(entries.flatMap((entry) => entry.type === 'chat:removed' ? entry.id : []))
  return entries.filter((entry): entry is TimelineEntry => entry.type !== 'chat:removed' && !(entry.type === 'chat' && removed.has(entry.id)))
}

const timestamp = (ms: number) => {
  const pad = (value: number, digits = 2) => String(Math.floor(value)).padStart(digits, '0')
  return `${pad(ms / 3_600_000)}:${pad(ms / 60_000 % 60)}:${pad(ms / 1000 % 60)}.${pad(ms % 1000, 3)}`
}
const escaped = (name: string) => name.replace(/\s+/g, ' ').replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')

/**
 * @param endMs the duration of the recording, in milliseconds
 * @returns WebVTT text with one cue for each time a user speaks. A cue contains the user's name
 */
export function speakersVtt (entries: readonly TimelineEntry[], endMs: number): string {
  const names = new Map<string, string>()
  const since = new Map<string, number>()
  const cues: { from: number, to: number, key: string }[] = []
  const keyOf = (id: UserId) => JSON.stringify(id)
  const end = (key: string, to: number) => {
    const from = since.get(key) as number
    since.delete(key)
    if (to > from) cues.push({ from, to, key })
  }
  for (const entry of entries) {
    if (entry.type === 'user') names.set(keyOf(entry.userId), entry.name ?? String(entry.userId))
    if (entry.type !== 'speakers') continue
    const speaking = new Set(entry.userIds.map(keyOf))
    for (const key of [...since.keys()]) if (!speaking.has(key)) end(key, entry.at)
    for (const key of speaking) if (!since.has(key)) since.set(key, Math.max(0, entry.at))
  }
  for (const key of [...since.keys()]) end(key, endMs)
  cues.sort((a, b) => a.from - b.from)
  return ['WEBVTT', ...cues.map(({ from, to, key }) => {
    const name = escaped(names.get(key) ?? String(JSON.parse(key)))
    return `${timestamp(from)} --> ${timestamp(to)}\n<v ${name}>${name}</v>`
  })].join('\n\n') + '\n'
}
