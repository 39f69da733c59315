export interface QueueOptions {
  /**
   * Handles one message; `at` is the time at which the message arrived, from `performance.now()`. The function must not
   * throw.
   */
  handle: (text: string, at: number) => void
  /** Maximum number of queued messages. */
  maxItems: number
  /** Maximum total length of the queued messages, in characters. */
  maxLength: number
  /** How long the queue handles messages before it yields to the event loop, in milliseconds. */
  sliceMs: number
  /** No messages are handled until this promise resolves. */
  startAfter?: Promise<void> | undefined
}

/** Handles messages in order, in short slices between which the event loop can do other work. */
export interface Queue {
  readonly size: number
  /** @returns false if the queue is full or closed */
  push (text: string): boolean
  /**
   * Handles all queued messages synchronously, or drops them if `startAfter` is pending. After this call, `push`
   * returns false.
   */
  close (): void
}

/** Maximum number of messages that the queue handles before it yields to the event loop, so that sockets can flush. */
const maxSlice = 200

export function createQueue ({ handle, maxItems, maxLength, sliceMs, startAfter }: QueueOptions): Queue {
  let items: { text: string, at: number }[] = []
  // Handled items are removed in bulk, because removing the first item of an array moves all others.
  let head = 0
  let length = 0
  let started = startAfter === undefined
  let closed = false
  let scheduled: NodeJS.Immediate | undefined

  startAfter?.then(() => {
    started = true
    if (items.length > 0) schedule()
  })

  function next (): void {
    const { text, at } = items[head++] as { text: string, at: number }
    length -= text.length
    handle(text, at)
  }

  function slice (): void {
    const end = performance.now() + sliceMs
    scheduled = undefined
    for (let n = 0; n < maxSlice && head < items.length && performance.now() <= end; n++) next()
    if (head === items.length || head > maxItems) {
      items = items.slice(head)
      head = 0
    }
    if (items.length > 0) schedule()
  }

  function schedule (): void {
    if (started && !closed) scheduled ??= setImmediate(slice)
  }

  return {
    get size () {
      return items.length - head
    },
    push (text) {
      if (closed || items.length - head >= maxItems || length + text.length > maxLength) return false
      items.push({ text, at: performance.now() })
      length += text.length
      schedule()
      return true
    },
    close () {
      closed = true
      clearImmediate(scheduled)
      if (started) while (head < items.length) next()
      items = []
      head = length = 0
    }
  }
}
