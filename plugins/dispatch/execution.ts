import type { FastifyInstance } from 'fastify'
import type { FrameReader, Session } from '../connections/session.ts'
import { FeatureDisabled, Internal, isCoded, toWire, Unauthorized, UnknownType, validationFailed } from '../errors/codes.ts'
import type { WireError } from '../errors/codes.ts'
import type { Registration } from '../registrations.ts'
import { notInRoom } from '../rooms/errors.ts'
import type { LocalRoom } from '../rooms/node-rooms.ts'
import { checkInput } from '../schema/input.ts'
import type { InFlight } from './in-flight.ts'
import type { RateLimits } from './rate-limits.ts'
import { createSchemaExtender } from './routes.ts'
import type { MessageContext, MessageOptions, MessageRoute } from './routes.ts'

export interface MessageDispatcher {
  /**
   * Runs a request as if the session's client had sent the request. The same schemas, limits, metrics and errors apply,
   * and the request waits its turn among the session's other requests. The handler's `afterReply` callbacks run after
   * the caller receives the reply.
   *
   * Do not await this call in an exclusive handler of the same session, because the request waits for that handler to
   * finish.
   *
   * @returns the reply's data
   * @throws an error with a code: UNKNOWN_TYPE, FEATURE_DISABLED, VALIDATION_FAILED,
   *   NOT_IN_ROOM, RATE_LIMITED, UNAUTHORIZED if the session has ended, UNAVAILABLE after the deadline,
   *   INTERNAL for a failure without a code, and any code that the handler throws
   */
  dispatch (session: Session, type: string, data?: unknown): Promise<unknown>
}

/** Runs requests in order: checks schemas and limits, calls handlers, and counts outcomes. */
export interface Execution extends MessageDispatcher {
  /** Decodes a frame in the session's message format, runs the request, and sends the reply. */
  read: FrameReader
  /** Makes the session's later requests wait for the promise `until` and for the promises of earlier `hold` calls. */
  hold (session: Session, until: Promise<unknown>): void
}

/** A request that a client sent, or that the server dispatched for a session. */
interface SessionRequest {
  session: Session
  id?: string | number | undefined
  /** The request's type; undefined if the frame contains no readable type. */
  type: string | undefined
  data?: unknown
  /** Size of the frame that contained the request; 0 for a dispatched request, which has no frame. */
  bytes: number
  /** `performance.now()` when the request arrived. */
  receivedAt: number
  /** Called once, with the outcome. A reply whose frame is too large is shortened with `shorten`. */
  respond (outcome: Outcome, shorten?: MessageOptions['shorten']): void
  /** Runs the handler's callbacks after the reply. */
  afterReply (run: () => void): void
  /**
   * Called when the handler starts or the request fails; may be called more than once. Set only for requests that have
   * waited.
   */
  started? (): void
}

/** The outcome of a request. `cause` is the original error. */
type Outcome = { ok: true, data: unknown } | { ok: false, error: WireError, cause: unknown }

// In seconds. Most requests take well under a millisecond. The upper buckets reveal a store or backend that hangs.
const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Limits on a session's requests that are waiting for an exclusive request (docs/protocol.md, "Frames"). */
const maxWaiting = { requests: 200, bytes: 262_144 }

export function createExecution (app: FastifyInstance, limits: RateLimits): Execution {
  const routes = app.registrations.inService('message')
  const exportedTypes = app.registrations.inService('exportedType')
  const accepted = app.registrations.inService('accepted')
  const extended = createSchemaExtender()
  const outcomes = app.metrics.counter('flylive_socket_events_total', 'Handled requests, by type and outcome (ok or the error code)', ['event', 'status'])
  const latency = app.metrics.histogram('flylive_socket_event_latency_seconds', 'Time from a request to its reply, by type', ['event'], latencyBuckets)
  /** The number and total size of each session's waiting requests. */
  const waiting = new WeakMap<Session, { requests: number, bytes: number }>()
  /**
   * For each session, the promise that its later requests wait for. The promise settles once the session's exclusive
   * requests have finished and its waiting requests have started.
   */
  const barriers = new WeakMap<Session, Promise<unknown>>()

  function read (session: Session, frame: Buffer, isBinary: boolean): void {
    const receivedAt = performance.now()
    const message = session.face.parse(frame, isBinary)
    if (!message) return
    const { id, type } = message
    const request = {
      session,
      id,
      bytes: frame.length,
      receivedAt,
      respond (outcome: Outcome, shorten?: MessageOptions['shorten']) {
        if (id !== undefined) session.reply(id, outcome.ok ? outcome : { ok: false, error: outcome.error }, shorten)
        else if (!outcome.ok) session.send('error', type === undefined ? outcome.error : { ...outcome.error, type })
      },
      afterReply: (run: () => void) => run()
    }
    if (message.error) reject({ ...request, type }, message.error)
    else start({ ...request, type: message.type, data: message.data })
  }

  async function dispatch (session: Session, type: string, data?: unknown): Promise<unknown> {
    if (!session.open) throw new Unauthorized('The session has ended')
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    start({
      session,
      type,
      data,
      bytes: 0,
      receivedAt: performance.now(),
      respond (outcome) {
        if (outcome.ok) resolve(outcome.data)
        else reject(isCoded(outcome.cause) ? outcome.cause : new Internal({ cause: outcome.cause }))
      },
      afterReply: process.nextTick
    })
    return await promise
  }

  /** Runs a request immediately, or once the session's earlier exclusive requests finish. */
  function start (request: SessionRequest & { type: string }): void {
    const { session, type } = request
    const count = meter(request)
    const route = routes.get(type)?.[0]?.value
    const barrier = route?.immediate === true ? undefined : barriers.get(session)
    if (barrier && !wait(request)) {
      session.close('FLOODING')
      count(fail(request, new Unauthorized('The session has ended')))
      return
    }
    if (!barrier) {
      const done = run(request, count)
      if (route?.exclusive === true) hold(session, done)
      return
    }
    const { promise: started, resolve } = Promise.withResolvers<void>()
    const done = barrier.then(() => resume({ ...request, started: resolve }, count))
    hold(session, route?.exclusive === true ? done : started)
  }

  /** @returns false if too many of the session's requests are waiting */
  function wait ({ session, bytes }: SessionRequest): boolean {
    const queue = waiting.get(session) ?? { requests: 0, bytes: 0 }
    if (queue.requests >= maxWaiting.requests || queue.bytes + bytes > maxWaiting.bytes) return false
    queue.requests++
    queue.bytes += bytes
    waiting.set(session, queue)
    return true
  }

  /** Runs a waiting request. */
  async function resume (request: SessionRequest & { type: string }, count: (status: string) => void): Promise<void> {
    const queue = waiting.get(request.session)
    if (queue) {
      queue.requests--
      queue.bytes -= request.bytes
    }
    await run(request, count)
  }

  function hold (session: Session, until: Promise<unknown>): void {
    const barrier = Promise.allSettled([barriers.get(session), until]).finally(() => {
      if (barriers.get(session) === barrier) barriers.delete(session)
    })
    barriers.set(session, barrier)
  }

  async function run (request: SessionRequest & { type: string }, count: (status: string) => void): Promise<void> {
    const callbacks: (() => void)[] = []
    const call = `request ${request.type}`
    let inFlight: Pick<InFlight, 'run'> | undefined
    try {
      // Look up the route only now, because a reload may have replaced the route while the request waited.
      const found = find(request.type)
      const route = found.value
      inFlight = found.inFlight
      const data = await inFlight.run(() => handle(request, route, callbacks), call)
      request.respond({ ok: true, data }, route.shorten)
      count('ok')
    } catch (error) {
      count(fail(request, error))
    } finally {
      request.started?.()
    }
    // Run the callbacks as a call with the request's name, so that faults in the callbacks are attributed to the
    // request.
    if (callbacks.length > 0) request.afterReply(() => inFlight?.run(() => runAll(callbacks, request), call))
  }

  /** @throws UNKNOWN_TYPE; FEATURE_DISABLED if the type belongs to a feature that is off */
  function find (type: string): Registration<MessageRoute> {
    const found = routes.get(type)?.[0]
    if (found) return found
    const feature = exportedTypes.get(type)?.at(-1)
    throw feature ? new FeatureDisabled(feature.owner) : new UnknownType(type)
  }

  async function handle (request: SessionRequest, route: MessageRoute, callbacks: (() => void)[]): Promise<unknown> {
    const { session } = request
    const fields = accepted.get(route.type)
    const parsed = checkInput(fields ? extended(route.request, fields) : route.request, request.data ?? {})
    if (!parsed.success) throw validationFailed(parsed.issues)
    const room = route.room === false ? undefined : roomOf(session, (parsed.data as { roomId?: string }).roomId)
    if (route.limit) {
      const key = route.limit.perRoom === true ? `${room?.roomId ?? ''} ${session.userKey}` : session.userKey
      const { name = route.type, perMinute, eventual = false } = route.limit
      const counted = eventual ? limits.count(name, key, perMinute) : limits.consume(name, key, perMinute)
      // Make the session's later requests wait as well, so that handlers start in the order in which the requests
      // arrived.
      if (eventual && counted) hold(session, counted)
      if (counted) await counted
    }
    const context: MessageContext<never> = {
      session,
      room: room as never,
      get log () {
        return app.log.child(tagsOf(request))
      },
      afterReply: (fn) => { callbacks.push(fn) }
    }
    request.started?.()
    const reply = await route.handler(parsed.data as never, context)
    return route.reply.parse(reply)
  }

  /** Replies with an error to a request that could not be parsed, and counts the request. */
  function reject (request: SessionRequest, error: Error): void {
    meter(request)(fail(request, error))
  }

  /**
   * Replies with an error.
   *
   * @returns the error's code
   */
  function fail (request: SessionRequest, cause: unknown): string {
    const { status, wire } = toWire(cause)
    if (status >= 500) app.log[wire.code === 'INTERNAL' ? 'error' : 'warn']({ err: cause, ...tagsOf(request) }, 'message failed')
    request.respond({ ok: false, error: wire, cause })
    return wire.code
  }

  /** @returns a function that records the request's outcome and latency, by type */
  function meter ({ type, receivedAt }: SessionRequest): (status: string) => void {
    const event = type !== undefined && routes.has(type) ? type : 'unknown'
    return (status) => {
      outcomes.inc({ event, status })
      latency.observe({ event }, (performance.now() - receivedAt) / 1000)
    }
  }

  function runAll (callbacks: readonly (() => void)[], request: SessionRequest): void {
    for (const fn of callbacks) {
      try {
        fn()
      } catch (err) {
        app.log.error({ err, ...tagsOf(request) }, 'an afterReply callback failed')
      }
    }
  }

  return { read, dispatch, hold }
}

/**
 * @param roomId the id in the request; default: the id of the session's room
 * @throws NOT_IN_ROOM if the session is in no room or in a different room
 */
function roomOf ({ room }: Session, roomId = room?.roomId): LocalRoom {
  if (!room || roomId !== room.roomId) throw notInRoom(roomId)
  return room
}

function tagsOf ({ session, id, type }: SessionRequest) {
  return { sessionId: session.id, userId: session.user.id, ...(session.roomId === null ? {} : { roomId: session.roomId }), correlationId: `${session.id}/${String(id ?? '-')}`, type }
}
