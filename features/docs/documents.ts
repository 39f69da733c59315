import type { ContractTables } from 'flylive-audio-server/feature'
import { createAsyncApi } from './asyncapi.ts'
import type { AsyncApi, AsyncApiParts } from './asyncapi.ts'
import { createOpenApi } from './openapi.ts'
import type { OpenApi } from './openapi.ts'

/**
 * The API contract in standard formats. It is generated from the same schemas with which the server validates messages.
 */
export interface Documents {
  /** The REST interface, as OpenAPI 3.1. */
  openapi: OpenApi
  /** The WebSocket interface, as AsyncAPI 3.0. */
  asyncapi: AsyncApi
}

/**
 * @param tables the result of `app.contract()`
 * @param config the settings that limit what a connection can send and queue
 */
export function documentsOf (tables: ContractTables, config: AsyncApiParts['config']): Documents {
  return { openapi: createOpenApi(tables), asyncapi: createAsyncApi({ ...tables, config }) }
}
