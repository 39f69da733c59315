import fp from 'fastify-plugin'
import type { EventCheck } from '../connections/sockets.ts'
import { createEventCheck } from './event-check.ts'
import { createExecution } from './execution.ts'
import type { Execution, MessageDispatcher } from './execution.ts'
import { createRateLimits } from './rate-limits.ts'
import { createMessageRecorder, createRouteTable } from './routes.ts'
import type { MessageRegistrar, RouteTable } from './routes.ts'

/** The message router's API for features. */
export interface FeatureMessages extends MessageRegistrar, MessageDispatcher {}

export interface Messages extends FeatureMessages, Pick<RouteTable, 'ownerOf' | 'install' | 'disable' | 'contract'>, Pick<Execution, 'hold'> {
  checkEvent: EventCheck
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
  const routes = createRouteTable()
  const limits = createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)
  const execution = createExecution(app, routes, limits)
  const kernel = createMessageRecorder()
  const installKernel = () => routes.install('kernel', kernel.table)

  const checkEvent = createEventCheck(app, routes.eventSchema)

  app.sockets.readWith(execution.read)
  app.sockets.checkWith(checkEvent)

  app.decorate('messages', {
    on (type, options, handler) {
      kernel.on(type, options, handler)
      installKernel()
    },
    events (events) {
      kernel.events(events)
      installKernel()
    },
    adds (to, fields) {
      kernel.adds(to, fields)
      installKernel()
    },
    accepts (to, fields) {
      kernel.accepts(to, fields)
      installKernel()
    },
    dispatch: execution.dispatch,
    hold: execution.hold,
    checkEvent,
    ownerOf: routes.ownerOf,
    install: routes.install,
    disable: routes.disable,
    contract: routes.contract
  } satisfies Messages)
}, { name: 'messages', dependencies: ['sockets', 'metrics'] })
