import fp from 'fastify-plugin'
import type { EventCheck } from '../connections/sockets.ts'
import { createEventCheck } from './event-check.ts'
import { createExecution } from './execution.ts'
import type { Execution, MessageDispatcher } from './execution.ts'
import { createRateLimits } from './rate-limits.ts'
import { createMessageRegistrar, createSchemaExtender, messageTable } from './routes.ts'
import type { MessageRegistrar, MessageTable } from './routes.ts'

/** The message router's API for features. */
export interface FeatureMessages extends MessageRegistrar, MessageDispatcher {}

export interface Messages extends FeatureMessages, Pick<Execution, 'hold'> {
  checkEvent: EventCheck
  /** The current contract. */
  contract (): (MessageTable & { owner: string })[]
}

declare module 'fastify' {
  interface FastifyInstance {
    messages: Messages
  }
}

/**
 * The message router: validates requests and replies, sends one reply per request, and applies rate limits. The kernel
 * and the features register message types with this router.
 */
export default fp(async function messages (app) {
  const { registrations } = app
  const limits = createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)
  const execution = createExecution(app, limits)
  const kernel = createMessageRegistrar(registrations.kernel, (type) => {
    const other = registrations.inService('message').get(type)?.[0]
    if (other) throw new Error(`The message type ${type} belongs to ${other.owner}`)
  })
  const events = registrations.inService('event')
  const additions = registrations.inService('addition')
  const extended = createSchemaExtender()
  const checkEvent = createEventCheck(app, (type) => {
    const schema = events.get(type)?.at(-1)?.value
    const fields = additions.get(type)
    return schema && fields ? extended(schema, fields) : schema
  })

  app.sockets.readWith(execution.read)
  app.sockets.checkWith(checkEvent)

  app.decorate('messages', {
    ...kernel,
    dispatch: execution.dispatch,
    hold: execution.hold,
    checkEvent,
    contract: () => [...registrations.owners()].map((registered) => ({ owner: registered.owner, ...messageTable(registered) }))
  } satisfies Messages)
}, { name: 'messages', dependencies: ['sockets', 'metrics', 'registrations'] })
