import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import type { EventCheck } from '../connections/sockets.ts'

/**
 * Creates a function that checks outgoing events. Outside production, it throws if an event does not match its schema.
 * In production, such an event is counted and still sent; the first one of each type is logged.
 *
 * @param schemaOf returns the declared schema of an event type
 */
export function createEventCheck ({ config, log, metrics }: Pick<FastifyInstance, 'config' | 'log' | 'metrics'>, schemaOf: (type: string) => z.ZodType | undefined): EventCheck {
  const invalid = metrics.counter('flylive_events_invalid_total', 'Events that do not match their declared schema, by type', ['event'])
  const logged = new Set<string>()
  return (type, data) => {
    const result = schemaOf(type)?.safeParse(data)
    if (!result?.error) return
    invalid.inc({ event: type })
    const problems = result.error.issues.map(({ path, message }) => `${path.join('.') || 'data'}: ${message}`).join('; ')
    const err = new Error(`The event ${type} does not match its schema: ${problems}`)
    if (config.NODE_ENV !== 'production') throw err
    if (logged.has(type)) return
    logged.add(type)
    const { roomId } = Object(data) as { roomId?: unknown }
    log.error({ err, event: type, roomId }, 'sent an event that does not match its schema')
  }
}
