import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import type { ContractTables, RouteContract } from '../schema/contract.ts'
import { allCloseCodes } from './close-codes.ts'
import { allCodes } from './error-codes.ts'
import { messagesOf } from './messages.ts'

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')) as { version: string }

/**
 * Builds the API contract from the routes, messages and errors of the kernel and the running features.
 * The `docs` feature renders it.
 */
export default fp(async function contract (app) {
  const kernelRoutes: RouteContract[] = []
  let latest: { of: readonly unknown[], tables: ContractTables } | undefined

  app.addHook('onRoute', ({ method, url, schema }) => {
    for (const one of [method].flat() as HTTPMethods[]) kernelRoutes.push({ owner: 'kernel', method: one, url, schema })
  })

  app.decorate('contract', () => {
    const generations = app.features.generations().sort((a, b) => a.name < b.name ? -1 : 1)
    // Each reload of a feature creates a new generation object, so comparing the objects detects every change.
    const of = [kernelRoutes.length, ...generations]
    if (latest?.of.length === of.length && of.every((part, i) => part === latest?.of[i])) return latest.tables
    const tables = {
      version,
      routes: [...kernelRoutes, ...generations.flatMap(({ name, routes }) => routes.map((route) => ({ owner: name, ...route })))],
      ...messagesOf(app.messages.contract()),
      errorCodes: allCodes(generations.map(({ name, module }) => [name, module.errors])),
      closeCodes: allCloseCodes
    }
    latest = { of, tables }
    return tables
  })
}, { name: 'contract', dependencies: ['messages', 'features'] })
