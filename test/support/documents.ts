import { createRequire } from 'node:module'
import { Ajv } from 'ajv'
import type { ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { AsyncApi } from '../../features/docs/asyncapi.ts'

// Reads the API documents under /docs as any client would, without the schemas from which the server generates the
// documents.

// ajv-formats is a CommonJS module, and its types do not match its exports.
const addFormats = formats as unknown as typeof formats.default
const options = { strict: false, allErrors: true, validateFormats: true } as const

/** Returns a value's validation errors, or undefined if the value is valid. */
export type Check = (value: unknown) => string | undefined

function checks (ajv: Ajv | Ajv2020, id: string, document: object): (pointer: string) => Check {
  addFormats(ajv)
  ajv.addSchema(document, id)
  const compiled = new Map<string, ValidateFunction>()
  return (pointer) => (value) => {
    const validate = compiled.get(pointer) ?? ajv.compile({ $ref: `${id}#${pointer}` })
    compiled.set(pointer, validate)
    return validate(value) ? undefined : ajv.errorsText(validate.errors)
  }
}

const escapePointer = (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1')
const lastOf = (ref: { $ref: string } | undefined) => ref?.$ref.split('/').at(-1) ?? ''

/** A request of the AsyncAPI document. */
export interface DocumentedRequest {
  type: string
  /** Schema of the request's data. */
  data: object
  fits: Check
  reply: Check
}

export interface MessageDocument {
  document: AsyncApi
  requests: DocumentedRequest[]
  /** Validators of whole frames, by event type. */
  events: ReadonlyMap<string, Check>
  refused: Check
  codes: ReadonlySet<string>
}

/** @returns a function that takes a message's name and returns the validator of the message's payload */
export function readPayloads (document: AsyncApi): (name: string) => Check {
  const check = checks(new Ajv(options), 'asyncapi', document)
  return (name) => check(`/components/messages/${escapePointer(name)}/payload`)
}

/** Reads an AsyncAPI document of this server. */
export function readAsyncApi (document: AsyncApi): MessageDocument {
  const check = checks(new Ajv(options), 'asyncapi', document)
  const payload = (name: string) => check(`/components/messages/${name}/payload`)
  const operations = Object.values(document.operations)
  return {
    document,
    requests: operations.filter(({ action }) => action === 'receive').map(({ messages: [message], reply }) => {
      const name = lastOf(message)
      const { properties = {} } = document.components.messages[name]?.payload ?? {}
      return {
        type: String(properties.type?.const),
        data: properties.data ?? {},
        fits: check(`/components/messages/${name}/payload/properties/data`),
        reply: payload(lastOf(reply?.messages[0]))
      }
    }),
    events: new Map(operations.filter(({ action }) => action === 'send').map(({ messages: [message] }) => {
      const name = lastOf(message)
      return [String(document.components.messages[name]?.payload.properties?.type?.const), payload(name)]
    })),
    refused: payload('refused'),
    codes: new Set(document['x-error-codes'].map(({ code }) => code))
  }
}

interface Body { content?: Record<string, { schema: object }> }

/** The parts of an OpenAPI document that the tests use. */
export interface OpenApiDocument {
  paths: Record<string, Record<string, {
    security?: Record<string, unknown>[]
    parameters?: { in: string, name: string, required?: boolean, schema: object }[]
    requestBody?: Body & { required?: boolean }
    responses: Record<string, Body & { $ref?: string }>
  }>>
  components: { schemas: Record<string, object>, responses: Record<string, Body> }
}

/** A route of the OpenAPI document. */
export interface DocumentedRoute {
  method: string
  path: string
  security: string[]
  /** Whether the route accepts requests without a key. */
  securityIsOptional: boolean
  parameters: { in: string, name: string, required: boolean, schema: object, fits: Check }[]
  /** Schema of the body; undefined if the route takes none. */
  body: { schema: object, required: boolean, fits: Check } | undefined
  /** @returns how a response violates the document; undefined if it conforms */
  answer: (status: number, type: string, body: unknown) => string | undefined
}

/** Reads an OpenAPI document. */
export function readOpenApi (document: OpenApiDocument): DocumentedRoute[] {
  const check = checks(new Ajv2020(options), 'openapi', document)
  return Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]): DocumentedRoute => {
    const here = `/paths/${escapePointer(path)}/${method}`
    const { parameters = [], requestBody, responses } = operation
    const schema = requestBody?.content?.['application/json']?.schema
    return {
      method: method.toUpperCase(),
      path,
      security: operation.security?.flatMap((one) => Object.keys(one)) ?? [],
      securityIsOptional: operation.security?.some((one) => Object.keys(one).length === 0) ?? false,
      parameters: parameters.map((parameter, i) => ({ ...parameter, required: parameter.required === true, fits: check(`${here}/parameters/${i}/schema`) })),
      body: schema && { schema, required: requestBody?.required === true, fits: check(`${here}/requestBody/content/application~1json/schema`) },
      answer (status, type, body) {
        const key = [String(status), `${Math.floor(status / 100)}XX`].find((one) => one in responses)
        if (key === undefined) return `the status ${status} is not documented`
        const name = responses[key]?.$ref?.split('/').at(-1)
        const pointer = name === undefined ? `${here}/responses/${key}` : `/components/responses/${name}`
        const { content } = (name === undefined ? responses[key] : document.components.responses[name]) ?? {}
        if (!content) return body === '' ? undefined : `${status} has a body`
        const media = Object.keys(content).find((one) => type.startsWith(one))
        return media === undefined ? `${status} has the type ${type}` : check(`${pointer}/content/${escapePointer(media)}/schema`)(body)
      }
    }
  }))
}

const asyncApiSchema = new Ajv({ ...options, validateFormats: false })
/** The compiled AsyncAPI 3.0 schema. This schema is compiled only once per process, because the schema is large. */
let compiled: ValidateFunction | undefined

/** @returns the errors in a document, checked against the AsyncAPI 3.0 schema; undefined if there are none */
export function checkAsyncApi (document: unknown): string | undefined {
  const ajv = asyncApiSchema
  const validate = compiled ??= ajv.compile(createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object)
  return validate(document) ? undefined : ajv.errorsText(validate.errors?.slice(0, 10))
}
