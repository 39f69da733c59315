import fp from 'fastify-plugin'
import { Internal, isCoded, Unauthorized } from '../errors/codes.ts'
import type { Session } from '../connections/session.ts'
import { createExecution } from './execution.ts'
import { createRateLimits } from './limits.ts'
import type { RateLimits } from './limits.ts'
import { createRequestOrder } from './order.ts'
import type { RequestOrder } from './order.ts'
import { createReader } from './reader.ts'
import { createMessageRecorder } from './routes.ts'
import type { MessageRegistrar } from './routes.ts'
import { createRouteTable } from './table.ts'
import type { RouteTable } from './table.ts'

export interface MessageDispatcher {
  /**
   * Runs a request as if the session had sent it over its connection: the same
   * schemas, limits, metrics and errors, in order with the session's other
   * requests. What the handler does after the reply runs after the code that
   * awaits this promise.
   *
   * Do not await it in an exclusive handler of the same session: it starts
   * after that handler.
   *
   * @returns the reply's data
   * @throws an error with a code: UNKNOWN_TYPE, FEATURE_DISABLED, VALIDATION_FAILED,
   *   NOT_IN_ROOM, RATE_LIMITED, UNAUTHORIZED when the session has ended,
   *   INTERNAL for a failure without a code, and the codes of the handler
   */
  dispatch (session: Session, type: string, data?: unknown): Promise<unknown>
}

/** What features use of the message router. */
export interface FeatureMessages extends MessageRegistrar, MessageDispatcher {}

export interface Messages extends FeatureMessages, Pick<RouteTable, 'ownerOf' | 'install' | 'disable' | 'contract'>, Pick<RequestOrder, 'hold'> {
  limits: RateLimits
}

declare module 'fastify' {
  interface FastifyInstance {
    messages: Messages
  }
}

/**
 * The message router: checks requests and replies against their schemas,
 * responds once to each request, counts and limits. Features register the types.
 */
export default fp(async function messages (app) {
  const routes = createRouteTable()
  const order = createRequestOrder()
  const limits = createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)
  const execution = createExecution(app, { routes, order, limits })
  const kernel = createMessageRecorder()
  const installKernel = () => routes.install('kernel', kernel.table)

  app.sockets.readWith(createReader(execution))

  app.decorate('messages', {
    limits,
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
    dispatch (session, type, data) {
      if (!session.open) return Promise.reject(new Unauthorized('The session has ended'))
      return new Promise((resolve, reject) => {
        execution.start({ session, type, data, receivedAt: performance.now() }, (outcome) => {
          if (outcome.ok) resolve(outcome.data)
          else reject(isCoded(outcome.cause) ? outcome.cause : new Internal({ cause: outcome.cause }))
        }, process.nextTick)
      })
    },
    ownerOf: routes.ownerOf,
    install: routes.install,
    disable: routes.disable,
    contract: routes.contract,
    hold: order.hold
  } satisfies Messages)
}, { name: 'messages', dependencies: ['sockets', 'metrics'] })
