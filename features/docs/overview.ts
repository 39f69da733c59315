import type { AsyncApi, AsyncMessage, AsyncOperation } from './asyncapi.ts'
import type { JsonSchema } from './json-schema.ts'

/** A request or an event that the documentation pages list. */
export interface Entry {
  /** The HTML anchor of the section about this message. */
  anchor: string
  kind: 'request' | 'event'
  type: string
  operation: AsyncOperation
  data: JsonSchema
  example: unknown
  /** Requests only. */
  reply?: { data: JsonSchema, example: unknown }
}

/** The messages that belong to the same owner: a feature or the kernel. */
export interface Group {
  owner: string
  entries: Entry[]
}

/** Groups a document's messages by owner. In each group, requests come before events. */
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

/** @returns the rate limit of a request as a sentence, or an empty string if the request has no limit */
export function limitText ({ 'x-limit': limit }: AsyncOperation): string {
  if (!limit) return ''
  return `Limit: ${limit.perMinute} per user per minute${limit.perRoom === true ? ', counted separately in each room' : ''}.`
}

/** @returns sentences that describe the limits of a connection */
export function connectionLimits ({ channels }: AsyncApi): string[] {
  const { maxFrameBytes, maxQueueBytes, messagesPerSecond, messagesBurst } = channels.ws['x-limits']
  return [
    `The server accepts only text frames of at most ${maxFrameBytes} bytes. It closes a connection with code 1003 after a binary frame, and with code 1009 after a larger frame.`,
    `A client can send up to ${messagesPerSecond} messages per second, with bursts of up to ${messagesBurst} messages. If a client sends more, the server closes its connection with code 4429.`,
    `For each connection, the server queues at most ${maxQueueBytes} bytes for the client. If the queue exceeds this limit, the server closes the connection with code 4410.`
  ]
}
