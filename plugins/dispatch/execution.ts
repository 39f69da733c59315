import type { FastifyInstance } from 'fastify'
import { toWire, validationFailed } from '../errors/codes.ts'
import type { WireError } from '../errors/codes.ts'
import type { Session } from '../connections/session.ts'
import type { RateLimits } from './limits.ts'
import type { RequestOrder } from './order.ts'
import type { MessageContext, MessageRoute } from './routes.ts'
import type { RouteTable } from './table.ts'

/** A request as its session sent it; `type` is undefined where it could not be read. */
export interface SessionRequest {
  session: Session
  id?: string | number | undefined
  type: string | undefined
  data?: unknown
  /** `performance.now()` at its arrival. */
  receivedAt: number
}

/** How a request ends. `cause` is the error as it was thrown. */
export type Outcome = { ok: true, data: unknown } | { ok: false, error: WireError, cause: unknown }

/** Takes the outcome of a request, once. */
export type Respond = (outcome: Outcome) => void

/** Runs requests: schemas, room, limits, metrics, errors. */
export interface Execution {
  /**
   * Runs a request when its turn in the session comes, and responds once.
   *
   * @param schedule runs what handlers do after the reply; right after `respond` by default
   */
  start (request: SessionRequest & { type: string }, respond: Respond, schedule?: (fn: () => void) => void): void
  /** Responds to a request that cannot be read, and counts it. */
  refuse (request: SessionRequest, error: Error, respond: Respond): void
}

// Seconds. Most messages take well under a millisecond; the upper end shows a
// store or backend that hangs.
const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createExecution (app: FastifyInstance, { routes, order, limits }: { routes: RouteTable, order: RequestOrder, limits: RateLimits }): Execution {
  const outcomes = app.metrics.counter('flylive_socket_events_total', 'Messages handled, by type and outcome (ok or the error code)', ['event', 'status'])
  const latency = app.metrics.histogram('flylive_socket_event_latency_seconds', 'Time from the request to its reply, by type', ['event'], latencyBuckets)

  /** @returns a function that counts the request's outcome under the type it had at its arrival */
  function meter ({ type, receivedAt }: SessionRequest): (status: string) => void {
    const event = type !== undefined && routes.find(type) ? type : 'unknown'
    return (status) => {
      outcomes.inc({ event, status })
      latency.observe({ event }, (performance.now() - receivedAt) / 1000)
    }
  }

  /** @returns the error's code */
  function respondWithError (request: SessionRequest, cause: unknown, respond: Respond): string {
    const { status, wire } = toWire(cause)
    if (status >= 500) app.log[wire.code === 'INTERNAL' ? 'error' : 'warn']({ err: cause, ...tagsOf(request) }, 'message failed')
    respond({ ok: false, error: wire, cause })
    return wire.code
  }

  async function handle (request: SessionRequest, route: MessageRoute, afterReply: (() => void)[]): Promise<unknown> {
    const { session } = request
    const parsed = route.request.safeParse(request.data ?? {})
    if (!parsed.success) throw validationFailed(parsed.error.issues)
    const room = route.room === false ? undefined : app.rooms.ofSession(session, (parsed.data as { roomId?: string }).roomId)
    if (route.limit) {
      const key = route.limit.perRoom === true ? `${room?.roomId ?? ''} ${session.userKey}` : session.userKey
      await limits.consume(route.type, key, route.limit.perMinute)
    }
    const context: MessageContext<never> = {
      session,
      room: room as never,
      get log () {
        return app.log.child(tagsOf(request))
      },
      afterReply: (fn) => { afterReply.push(fn) }
    }
    const reply = await route.handler(parsed.data as never, context)
    return route.reply.parse(reply)
  }

  return {
    start (request, respond, schedule = (fn) => fn()) {
      const { session, type } = request
      const count = meter(request)
      const afterReply: (() => void)[] = []
      const finish = (status: string) => {
        count(status)
        if (afterReply.length > 0) schedule(() => runAll(afterReply, request))
      }
      const run = async () => {
        try {
          // Look up the route again: its feature may have been replaced while the request waited.
          const { route, inFlight } = routes.resolve(type)
          const data = await inFlight.run(() => handle(request, route, afterReply))
          respond({ ok: true, data })
          finish('ok')
        } catch (error) {
          finish(respondWithError(request, error, respond))
        }
      }
      order.start(session, run, routes.find(type)?.route.exclusive === true)
    },
    refuse (request, error, respond) {
      const count = meter(request)
      count(respondWithError(request, error, respond))
    }
  }

  function runAll (functions: readonly (() => void)[], request: SessionRequest): void {
    for (const fn of functions) {
      try {
        fn()
      } catch (err) {
        app.log.error({ err, ...tagsOf(request) }, 'a callback after a reply failed')
      }
    }
  }
}

function tagsOf ({ session, id, type }: SessionRequest) {
  return { sessionId: session.id, userId: session.user.id, correlationId: `${session.id}/${String(id ?? '-')}`, type }
}
