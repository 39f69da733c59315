import { computed, reactive, ref } from 'vue'
import type { Ref } from 'vue'
import type { ChatMessage } from '@flylive/audio-client'

/** A line of the chat log: a chat message or a room event. */
export type Line =
  { kind: 'message', key: string, message: ChatMessage } |
  { kind: 'event', key: string, text: string }

/** Messages and room events, newest last. */
export interface Talk {
  readonly lines: readonly Line[]
  /** Number of unread lines. */
  readonly unread: Readonly<Ref<number>>
  /** Adds a message unless it is already present. */
  message (message: ChatMessage): void
  /** Adds a room event. */
  event (text: string): void
  /** Removes a message. */
  remove (id: string): void
  /**
   * Removes the messages that were deleted while the client was disconnected. Must be called before the messages of the
   * history are added.
   *
   * @param history the newest messages of the room, oldest first
   */
  removeDeleted (history: readonly ChatMessage[]): void
  /** Marks all lines as read. */
  read (): void
}

/** Maximum number of lines kept. */
const mostLines = 200

export function createTalk (): Talk {
  const lines: Line[] = reactive([])
  const known = new Set<string>()
  /** Number of lines ever added, including lines that were dropped since. */
  const count = ref(0)
  const seen = ref(0)
  let events = 0

  function add (line: Line): void {
    known.add(line.key)
    lines.push(line)
    count.value++
    for (const { key } of lines.splice(0, lines.length - mostLines)) known.delete(key)
  }

  function remove (id: string): void {
    const index = lines.findIndex(({ key }) => key === id)
    if (index !== -1) lines.splice(index, 1)
  }

  return {
    lines,
    unread: computed(() => count.value - seen.value),
    message (message) {
      if (!known.has(message.id)) add({ kind: 'message', key: message.id, message })
    },
    event (text) {
      add({ kind: 'event', key: `event ${++events}`, text })
    },
    remove,
    removeDeleted (history) {
      const [oldest] = history
      if (!oldest) return
      const kept = new Set(history.map(({ id }) => id))
      const start = lines.findIndex(({ key }) => key === oldest.id)
      // The history does not contain the messages before its oldest message, so it is unknown whether they were deleted.
      // If messages were deleted, the oldest message can be older than the client's first message.
      const isInHistory = ({ timestamp }: ChatMessage, i: number) => start === -1 ? timestamp > oldest.timestamp : i >= start
      for (const line of lines.filter((line, i) => line.kind === 'message' && isInHistory(line.message, i))) if (!kept.has(line.key)) remove(line.key)
    },
    read () {
      seen.value = count.value
    }
  }
}
