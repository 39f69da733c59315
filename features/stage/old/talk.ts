import type { ChatMessage } from '../../../client/index.ts'

/** What was written and what happened, the newest at the end. */
export interface Talk {
  /** Adds a message, unless it is there. */
  message (message: ChatMessage): void
  /** Adds what has happened. */
  event (text: string): void
  clear (): void
}

/** Lines that are kept. */
const mostLines = 200

export function createTalk (log: HTMLElement): Talk {
  const known = new Set<string>()

  function add (line: HTMLElement): void {
    // Who has scrolled up is reading.
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40
    log.append(line)
    while (log.childElementCount > mostLines) log.firstElementChild?.remove()
    if (atEnd) log.scrollTop = log.scrollHeight
  }

  return {
    message ({ id, userName, content }) {
      if (known.has(id)) return
      known.add(id)
      const line = document.createElement('p')
      const name = document.createElement('b')
      name.textContent = userName
      line.append(name, ` ${content}`)
      add(line)
    },
    event (text) {
      const line = document.createElement('p')
      line.className = 'event'
      line.textContent = text
      add(line)
    },
    clear () {
      known.clear()
      log.replaceChildren()
    }
  }
}
