import { STATUS_CODES } from 'node:http'
import { wireError, z } from 'flylive-audio-server/feature'
import type { ContractTables, RouteContract } from 'flylive-audio-server/feature'
import { createDocument } from 'zod-openapi'
import type { CreateDocumentOptions, ZodOpenApiObject, ZodOpenApiOperationObject, ZodOpenApiPathsObject, ZodOpenApiResponsesObject } from 'zod-openapi'
import { sharedSchemas, withoutSafeBounds } from './json-schema.ts'

/** The `schema` option of a route. Its schemas are zod schemas. */
interface RouteSchema {
  hide?: boolean
  summary?: string
  description?: string
  tags?: string[]
  security?: Record<string, string[]>[]
  params?: z.ZodObject
  querystring?: z.ZodObject
  headers?: z.ZodObject
  body?: z.ZodType
  response?: Readonly<Record<string, z.ZodType | { description?: string, content: Record<string, { schema: z.ZodType }> }>>
}

export type OpenApi = ReturnType<typeof createDocument>

const description = `All HTTP routes. Routes under \`/admin\` require one of the admin keys.

An error is \`{"error": {"code", "message", "details"?}}\`, with the same codes as on the WebSocket. This document omits disabled features.`

const securitySchemes = {
  adminKey: { type: 'http', scheme: 'bearer', description: 'One of the keys in ADMIN_API_KEY' },
  token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'A JWT that the backend signs for a user' },
  metricsToken: { type: 'http', scheme: 'bearer', description: 'METRICS_TOKEN' }
} as const

// JSON Schema cannot express these zod types, so their schema in the document allows any value.
const unrepresentable = ['any', 'bigint', 'custom', 'date', 'function', 'map', 'nan', 'promise', 'set', 'symbol', 'transform', 'undefined', 'unknown', 'void']
const options = { override: withoutSafeBounds, allowEmptySchema: Object.fromEntries(unrepresentable.map((type) => [type, true])) } as CreateDocumentOptions

/**
 * Describes the HTTP routes as OpenAPI 3.1. HEAD and OPTIONS routes, and routes with `schema: { hide: true }`, are
 * omitted.
 */
export function createOpenApi ({ version, routes, errorCodes }: Pick<ContractTables, 'version' | 'routes' | 'errorCodes'>): OpenApi {
  const paths: ZodOpenApiPathsObject = {}
  for (const { owner, method, url, schema } of routes.filter(isShown).toSorted((a, b) => a.url < b.url ? -1 : Number(a.url > b.url))) {
    const path = url.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation(owner, method, url, (schema ?? {}) as RouteSchema) }
  }
  const general = (statuses: (status: number) => boolean) => errorCodes.filter(({ status }) => statuses(status))
    .map(({ code, status, meaning }) => `- \`${code}\` (${status}) ${meaning}`).join('\n')
  return createDocument({
    openapi: '3.1.0',
    info: { title: 'FlyLive Audio Server: HTTP', version, description, license: { name: 'MIT', identifier: 'MIT' } },
    // The URL is relative to this document, because a proxy may serve the server under a path prefix.
    servers: [{ url: '..', description: 'this server' }],
    tags: [...new Set(routes.filter(isShown).map(({ owner, schema }) => (schema as RouteSchema | undefined)?.tags?.[0] ?? owner))].map((name) => ({ name })),
    paths,
    components: {
      schemas: { ...sharedSchemas, Error: wireError },
      securitySchemes,
      responses: {
        Refused: { description: `The request was rejected. Codes:\n\n${general((status) => status < 500)}`, content: { 'application/json': { schema: wireError } } },
        Failed: { description: `The server failed. Codes:\n\n${general((status) => status >= 500)}`, content: { 'application/json': { schema: wireError } } }
      }
    }
  } as ZodOpenApiObject, options)
}

function isShown ({ method, schema }: RouteContract): boolean {
  return method !== 'HEAD' && method !== 'OPTIONS' && (schema as RouteSchema | undefined)?.hide !== true
}

function operation (owner: string, method: string, url: string, schema: RouteSchema): ZodOpenApiOperationObject {
  const { summary, description, tags = [owner], body, querystring, params, headers } = schema
  const security = schema.security ?? (isAdmin(url) ? [{ adminKey: [] }] : [])
  const optional = body?.safeParse(undefined).success === true
  return {
    operationId: operationId(method, url),
    ...(summary === undefined ? {} : { summary }),
    ...(description === undefined ? {} : { description }),
    tags,
    security,
    requestParams: {
      path: withAll(params, url),
      ...(querystring ? { query: querystring } : {}),
      ...(headers ? { header: headers } : {})
    },
    ...(body ? { requestBody: { required: !optional, content: { 'application/json': { schema: body } } } } : {}),
    responses: {
      ...responses(schema),
      ...(body || querystring || params || headers ? { 400: refusal('`VALIDATION_FAILED` The data does not match the schema', schema, 400) } : {}),
      ...(security.length > 0 && security.every((one) => Object.keys(one).length > 0) ? { 401: refusal('`UNAUTHORIZED` The key or token is missing or wrong', schema, 401) } : {}),
      '4XX': { $ref: '#/components/responses/Refused' },
      '5XX': { $ref: '#/components/responses/Failed' }
    } as ZodOpenApiResponsesObject
  }
}

const isAdmin = (url: string) => url === '/admin' || url.startsWith('/admin/')

/** Describes an error response. If the route has its own description of the status, that description follows `text`. */
function refusal (text: string, { response }: RouteSchema, status: number) {
  const own = response?.[status]
  const description = own === undefined ? text : `${text}. ${own.description ?? ''}`
  return { description, content: { 'application/json': { schema: wireError } } }
}

function responses ({ response = {} }: RouteSchema): ZodOpenApiResponsesObject {
  return Object.fromEntries(Object.entries(response).map(([status, schema]) => {
    const description = schema.description ?? STATUS_CODES[status] ?? status
    if ('content' in schema) return [status, { description, content: schema.content }]
    // The response has no body.
    if (schema.def.type === 'null' || schema.def.type === 'undefined') return [status, { description }]
    return [status, { description, content: { 'application/json': { schema } } }]
  })) as ZodOpenApiResponsesObject
}

/** Adds a schema for each path parameter that has none, because OpenAPI requires one. */
function withAll (params: z.ZodObject | undefined, url: string): z.ZodObject {
  const names = [...url.matchAll(/:(\w+)/g)].map(([, name]) => name as string)
  return z.object(Object.fromEntries(names.map((name) => [name, params?.shape[name] ?? z.string()])))
}

/** @example `POST /admin/rooms/:roomId/close` → `postAdminRoomsRoomIdClose` */
function operationId (method: string, url: string): string {
  return method.toLowerCase() + url.split(/[^A-Za-z0-9]+/).filter(Boolean).map((word) => word.slice(0, 1).toUpperCase() + word.slice(1)).join('')
}
