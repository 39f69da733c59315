import type { AsyncApi, AsyncMessage, AsyncOperation } from './asyncapi.ts'
import type { JsonSchema } from './json-schema.ts'

/** A request or an event as a reader looks for it; taken from the document, so that it says the same. */
export interface Entry {
  /** Where it is linked to. */
  anchor: string
  kind: 'request' | 'event'
  type: string
  operation: AsyncOperation
  data: JsonSchema
  example: unknown
  /** Of a request. */
  reply?: { data: JsonSchema, example: unknown }
}

/** What one feature has, or the kernel. */
export interface Group {
  owner: string
  entries: Entry[]
}

/** Sorts a document for reading: by owner, and there requests before events. */
export function groupsOf ({ info, operations, components }: AsyncApi): Group[] {
  const messageOf = (ref: { $ref: string } | undefined) => components.messages[ref?.$ref.split('/').at(-1) ?? '']
  const entries = Object.entries(operations).map(([anchor, operation]): Entry => {
    const reply = messageOf(operation.reply?.messages[0])
    return {
      anchor,
      kind: operation.action === 'receive' ? 'request' : 'event',
      type: operation.title,
      operation,
      ...shown(messageOf(operation.messages[0])),
      ...(reply === undefined ? {} : { reply: shown(reply) })
    }
  })
  return info.tags.map(({ name }) => ({
    owner: name,
    entries: entries.filter(({ operation }) => operation.tags.some((tag) => tag.name === name)).sort((a, b) => Number(a.kind === 'event') - Number(b.kind === 'event'))
  }))
}

function shown (message: AsyncMessage | undefined): { data: JsonSchema, example: unknown } {
  return { data: message?.payload.properties?.data ?? {}, example: message?.examples?.[0]?.payload }
}

/** Limits of a request in a sentence; empty when it has none. */
export function limitText ({ 'x-limit': limit }: AsyncOperation): string {
  if (!limit) return ''
  return `At most ${limit.perMinute} a minute per user${limit.perRoom === true ? ' and room' : ''}.`
}

/** What holds for the connection as a whole, in sentences. */
export function connectionLimits ({ channels }: AsyncApi): string[] {
  const { maxFrameBytes, maxQueueBytes, messagesPerSecond, messagesBurst } = channels.ws['x-limits']
  return [
    `A frame has at most ${maxFrameBytes} bytes (close 1009), and is text (close 1003).`,
    `A client sends at most ${messagesPerSecond} messages a second, and ${messagesBurst} at once (close 4429).`,
    `What a client has not read yet may be ${maxQueueBytes} bytes (close 4410).`
  ]
}
