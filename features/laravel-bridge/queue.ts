export interface QueueOptions {
  /** Deals with one text that came at a time of `performance.now()`. It must not throw. */
  handle: (text: string, at: number) => void
  /** Texts that may wait, and their characters together. */
  maxItems: number
  maxLength: number
  /** How long texts are dealt with before others get their turn, in milliseconds. */
  sliceMs: number
  /** Nothing is dealt with before it is there. */
  startAfter?: Promise<void> | undefined
}

/** Texts that are dealt with in order, a few at a time. */
export interface Queue {
  readonly size: number
  /** @returns false when there is no room for it */
  push (text: string): boolean
  /** Deals with all that waits, at once; what was not to be dealt with yet is dropped. Nothing is taken any more. */
  close (): void
}

/** Most texts of one slice: what they cause to be sent must get its chance to leave. */
const maxSlice = 200

export function createQueue ({ handle, maxItems, maxLength, sliceMs, startAfter }: QueueOptions): Queue {
  let items: { text: string, at: number }[] = []
  // Taken items are only counted and dropped now and then: shifting them one
  // by one would move all others each time.
  let head = 0
  let length = 0
  let started = startAfter === undefined
  let closed = false
  let planned: NodeJS.Immediate | undefined

  startAfter?.then(() => {
    started = true
    if (items.length > 0) plan()
  })

  function next (): void {
    const { text, at } = items[head++] as { text: string, at: number }
    length -= text.length
    handle(text, at)
  }

  function slice (): void {
    const end = performance.now() + sliceMs
    planned = undefined
    for (let n = 0; n < maxSlice && head < items.length && performance.now() <= end; n++) next()
    if (head === items.length || head > maxItems) {
      items = items.slice(head)
      head = 0
    }
    if (items.length > 0) plan()
  }

  function plan (): void {
    if (started && !closed) planned ??= setImmediate(slice)
  }

  return {
    get size () {
      return items.length - head
    },
    push (text) {
      if (closed || items.length - head >= maxItems || length + text.length > maxLength) return false
      items.push({ text, at: performance.now() })
      length += text.length
      plan()
      return true
    },
    close () {
      closed = true
      clearImmediate(planned)
      if (started) while (head < items.length) next()
      items = []
      head = length = 0
    }
  }
}
