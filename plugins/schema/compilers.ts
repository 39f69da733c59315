import type { FastifyServerOptions } from 'fastify'
import { serializerCompiler } from 'fastify-type-provider-zod'
import { inputValidator } from './input.ts'

/**
 * Makes Fastify use zod schemas for validation and serialisation. Pass this as an option; otherwise, Fastify first
 * loads its own compilers (Ajv and fast-json-stringify, 100 modules).
 */
export const schemaController = {
  compilersFactory: {
    buildValidator: () => inputValidator,
    buildSerializer: () => serializerCompiler
  }
  // Cast, because Fastify's types allow only its own compilers.
} as unknown as NonNullable<FastifyServerOptions['schemaController']>
