import type { CloseCode, ContractTables, ErrorCode, FeatureConfig } from 'flylive-audio-server/feature'
import { exampleOf } from './examples.ts'
import { sharedJsonSchemas, toJsonSchema } from './json-schema.ts'
import type { JsonSchema } from './json-schema.ts'

interface Reference { $ref: string }

/** A type of WebSocket message: a request, a reply or an event. */
export interface AsyncMessage {
  name: string
  title: string
  summary?: string
  payload: JsonSchema
  correlationId?: Reference
  tags?: { name: string }[]
  examples?: { payload: unknown }[]
}

/** Either a request that the server receives, with its reply, or an event that the server sends. */
export interface AsyncOperation {
  action: 'receive' | 'send'
  title: string
  summary?: string
  channel: Reference
  messages: Reference[]
  reply?: { channel: Reference, messages: Reference[] }
  tags: { name: string }[]
  'x-room'?: boolean
  'x-limit'?: { perMinute: number, perRoom?: boolean }
}

/** An AsyncAPI 3.0 document, with only the fields that this server generates. */
export interface AsyncApi {
  asyncapi: '3.0.0'
  info: { title: string, version: string, description: string, license: { name: string }, tags: { name: string }[] }
  defaultContentType: string
  channels: { ws: { address: string, title: string, description: string, messages: Record<string, Reference>, bindings: object, 'x-limits': Record<string, number> } }
  operations: Record<string, AsyncOperation>
  components: { schemas: Record<string, JsonSchema>, messages: Record<string, AsyncMessage>, correlationIds: object }
  'x-error-codes': readonly ErrorCode[]
  'x-close-codes': readonly CloseCode[]
}

export interface AsyncApiParts extends Omit<ContractTables, 'routes'> {
  config: Pick<FeatureConfig, 'WS_MAX_FRAME_BYTES' | 'WS_MAX_QUEUE_BYTES' | 'WS_MESSAGES_PER_SECOND' | 'WS_MESSAGES_BURST'>
}

const description = `A client opens a WebSocket at \`/ws\`. Client and server send JSON in text frames, one object per frame.

A **request** is \`{"id", "type", "data"}\`. The client chooses the \`id\`. The server replies once: \`{"id", "ok": true, "data"}\`, or \`{"id", "ok": false, "error"}\` with one of the error codes. A request without an \`id\` gets no reply; if it fails, the server sends the event \`error\`. The server ignores unknown fields.

An **event** is \`{"type", "data"}\`. All members of a room receive its events in the same order.

This document omits disabled features. Their requests fail with \`FEATURE_DISABLED\`.`

const channel = { $ref: '#/channels/ws' }
const refused = 'refused'
/**
 * @returns a component name. Colons are replaced by hyphens, because AsyncAPI does not allow colons in component names
 */
const nameOf = (type: string, kind: 'request' | 'reply' | 'event') => `${type.replaceAll(/[^\w.-]/g, '-')}.${kind}`
const inChannel = (name: string): Reference => ({ $ref: `#/channels/ws/messages/${name}` })
const schemaRef = (name: string): Reference => ({ $ref: `#/components/schemas/${name}` })
const ownSchemas = (errorCodes: readonly ErrorCode[], closeCodes: readonly CloseCode[]): Record<string, JsonSchema> => ({
  RequestId: { description: 'Chosen by the client. A request without an id gets no reply', anyOf: [{ type: 'number' }, { type: 'string' }] },
  ErrorCode: { type: 'string', enum: errorCodes.map(({ code }) => code) },
  Error: {
    type: 'object',
    properties: { code: schemaRef('ErrorCode'), message: { type: 'string', description: 'Readable text' }, details: { description: 'Machine-readable data; its type depends on the code' } },
    required: ['code', 'message']
  },
  CloseCode: { enum: [...new Set(closeCodes.map(({ code }) => code))] }
})

/**
 * Describes the WebSocket interface as AsyncAPI 3.0, from the point of view of the server, which receives requests and
 * sends events.
 */
export function createAsyncApi ({ version, config, requests, events, errorCodes, closeCodes }: AsyncApiParts): AsyncApi {
  const schemas = { ...sharedJsonSchemas(), ...ownSchemas(errorCodes, closeCodes) }
  const messages: Record<string, AsyncMessage> = {}
  const operations: Record<string, AsyncOperation> = {}
  const add = (name: string, message: Omit<AsyncMessage, 'name'>, also: object = {}) => {
    messages[name] = { name, ...message, examples: [{ payload: { ...also, ...exampleOf(message.payload, schemas) as object } }] }
  }

  for (const { type, owner, request, reply, room, limit } of requests) {
    const [asked, answered] = [nameOf(type, 'request'), nameOf(type, 'reply')]
    const data = toJsonSchema(request, 'input')
    const about = { ...summary(data), tags: [{ name: owner }] }
    const id = { correlationId: { $ref: '#/components/correlationIds/request' } }
    add(asked, { title: type, ...about, ...id, payload: envelope({ id: schemaRef('RequestId'), type: { const: type }, data }, ['type', ...(data.required?.length ? ['data'] : [])]) }, { id: 1 })
    add(answered, { title: `Reply to ${type}`, tags: about.tags, ...id, payload: envelope({ id: schemaRef('RequestId'), ok: { const: true }, data: toJsonSchema(reply, 'output') }) })
    operations[asked] = {
      action: 'receive',
      title: type,
      ...about,
      channel,
      messages: [inChannel(asked)],
      reply: { channel, messages: [inChannel(answered), inChannel(refused)] },
      'x-room': room,
      ...(limit === undefined ? {} : { 'x-limit': limit })
    }
  }
  add(refused, {
    title: 'Error reply',
    correlationId: { $ref: '#/components/correlationIds/request' },
    payload: envelope({ id: schemaRef('RequestId'), ok: { const: false }, error: schemaRef('Error') })
  })
  for (const { type, owner, data: schema } of events) {
    const name = nameOf(type, 'event')
    const data = toJsonSchema(schema, 'output')
    const about = { ...summary(data), tags: [{ name: owner }] }
    add(name, { title: type, ...about, payload: envelope({ type: { const: type }, data }) })
    operations[name] = { action: 'send', title: type, ...about, channel, messages: [inChannel(name)] }
  }

  return {
    asyncapi: '3.0.0',
    info: {
      title: 'FlyLive Audio Server: messages',
      version,
      description,
      license: { name: 'MIT' },
      tags: [...new Set([...requests, ...events].map(({ owner }) => owner))].map((name) => ({ name }))
    },
    defaultContentType: 'application/json',
    channels: {
      ws: {
        address: '/ws',
        title: 'The WebSocket',
        description: 'Offer the `msab.v1` subprotocol. The server may reject a connection before the upgrade, with an HTTP status and `{"error":{"code","message"}}`.',
        messages: Object.fromEntries(Object.keys(messages).map((name) => [name, { $ref: `#/components/messages/${name}` }])),
        bindings: { ws: { method: 'GET', headers: connecting, bindingVersion: '0.1.0' } },
        'x-limits': {
          maxFrameBytes: config.WS_MAX_FRAME_BYTES,
          maxQueueBytes: config.WS_MAX_QUEUE_BYTES,
          messagesPerSecond: config.WS_MESSAGES_PER_SECOND,
          messagesBurst: config.WS_MESSAGES_BURST
        }
      }
    },
    operations,
    components: { schemas, messages, correlationIds: { request: { description: 'The id of the request', location: '$message.payload#/id' } } },
    'x-error-codes': errorCodes,
    'x-close-codes': closeCodes
  }
}

const connecting = {
  type: 'object',
  properties: {
    authorization: { type: 'string', description: '`Bearer <token>`: a JWT that the backend signed' },
    'sec-websocket-protocol': { type: 'string', description: '`msab.v1`; also `bearer.<token>` for clients that cannot set headers, such as browsers' }
  }
}

const envelope = (properties: Record<string, JsonSchema>, required = Object.keys(properties)): JsonSchema => ({ type: 'object', properties, required })

const summary = ({ description }: JsonSchema) => description === undefined ? {} : { summary: description }
