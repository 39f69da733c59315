import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import { createAsyncApi } from './asyncapi.ts'
import type { AsyncApi } from './asyncapi.ts'
import { allCloseCodes } from './close-codes.ts'
import { allCodes } from './error-codes.ts'
import { messagesOf } from './messages.ts'
import { createOpenApi } from './openapi.ts'
import type { OpenApi, RouteContract } from './openapi.ts'

/** What clients and admins can rely on now, made from the schemas that validate. */
export interface Contract {
  /** The REST interface, as OpenAPI 3.1. */
  openapi: OpenApi
  /** The WebSocket, as AsyncAPI 3.0. */
  asyncapi: AsyncApi
}

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * The contract of the moment: features that are off are not in it. The
     * same object until something changes.
     */
    contract (): Contract
  }
}

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')) as { version: string }

/** Describes what is in force: the routes and messages of the kernel, and those of each feature that runs. */
export default fp(async function contract (app) {
  const kernelRoutes: RouteContract[] = []
  let latest: { of: readonly unknown[], contract: Contract } | undefined

  app.addHook('onRoute', ({ method, url, schema }) => {
    for (const one of [method].flat() as HTTPMethods[]) kernelRoutes.push({ owner: 'kernel', method: one, url, schema })
  })

  app.decorate('contract', () => {
    const generations = app.features.generations().sort((a, b) => a.name < b.name ? -1 : 1)
    // A feature that is reloaded is another generation, so this sees every change.
    const of = [kernelRoutes.length, ...generations]
    if (latest?.of.length === of.length && of.every((part, i) => part === latest?.of[i])) return latest.contract
    const errorCodes = allCodes(generations.map(({ name, module }) => [name, module.errors]))
    const routes = generations.flatMap(({ name, routes }) => routes.map((route) => ({ owner: name, ...route })))
    const contract = {
      openapi: createOpenApi({ version, routes: [...kernelRoutes, ...routes], errorCodes }),
      asyncapi: createAsyncApi({ version, config: app.config, ...messagesOf(app.messages.contract()), errorCodes, closeCodes: allCloseCodes })
    }
    latest = { of, contract }
    return contract
  })
}, { name: 'contract', dependencies: ['config', 'messages', 'features'] })
