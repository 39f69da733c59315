import { reactive } from 'vue'
import type { ChatMessage } from '@flylive/audio-client'

/** A line of what was written and of what has happened. */
export type Line =
  { kind: 'message', key: string, message: ChatMessage } |
  { kind: 'event', key: string, text: string }

/** What was written and what happened, the newest at the end. */
export interface Talk {
  readonly lines: readonly Line[]
  /** Adds a message, unless it is there. */
  message (message: ChatMessage): void
  /** Adds what has happened. */
  event (text: string): void
}

/** Lines that are kept. */
const mostLines = 200

export function createTalk (): Talk {
  const lines: Line[] = reactive([])
  const known = new Set<string>()
  let events = 0

  function add (line: Line): void {
    known.add(line.key)
    lines.push(line)
    for (const { key } of lines.splice(0, lines.length - mostLines)) known.delete(key)
  }

  return {
    lines,
    message (message) {
      if (!known.has(message.id)) add({ kind: 'message', key: message.id, message })
    },
    event (text) {
      add({ kind: 'event', key: `event ${++events}`, text })
    }
  }
}
