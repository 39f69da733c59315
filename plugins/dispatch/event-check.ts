import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import type { EventCheck } from '../connections/sockets.ts'

/**
 * Creates a function that checks outgoing events. Outside production, the function throws if an event does not match
 * its schema. In production, the function counts such an event, but the event is still sent. The first such event of
 * each type is logged.
 *
 * @param schemaOf returns the declared schema of an event type
 */
export function createEventCheck ({ config, log, metrics }: Pick<FastifyInstance, 'config' | 'log' | 'metrics'>, schemaOf: (type: string) => z.ZodType | undefined): EventCheck {
  const invalid = metrics.counter('flylive_events_invalid_total', 'Events that do not match their declared schema, by type', ['event'])
  const logged = new Set<string>()
  const sent: { type: string, data: unknown }[] = []

  /** Checks an event, and counts it if it is invalid. */
  function errorOf (type: string, data: unknown): Error | undefined {
    try {
      const result = schemaOf(type)?.safeParse(data)
      if (!result?.error) return
      invalid.inc({ event: type })
      const problems = result.error.issues.map(({ path, message }) => `${path.join('.') || 'data'}: ${message}`).join('; ')
      return new Error(`The event ${type} does not match its schema: ${problems}`)
    } catch (error) {
      // The schema may contain a feature's own check, which may throw.
      return error as Error
    }
  }

  function checkSent (): void {
    for (const { type, data } of sent.splice(0)) {
      const err = errorOf(type, data)
      if (!err || logged.has(type)) continue
      logged.add(type)
      const { roomId } = Object(data) as { roomId?: unknown }
      log.error({ err, event: type, roomId }, 'sent an event that does not match its schema')
    }
  }

  if (config.NODE_ENV === 'production') {
    return (type, data) => {
      // The check runs later, so that it does not delay the event.
      if (sent.push({ type, data }) === 1) setImmediate(checkSent)
    }
  }
  return (type, data) => {
    const err = errorOf(type, data)
    if (err) throw err
  }
}
