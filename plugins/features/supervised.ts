import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Bus, BusHandler } from '../cluster/bus.ts'
import type { Link } from '../connections/link.ts'
import type { FeatureSockets } from '../connections/sockets.ts'
import { lateError } from '../dispatch/in-flight.ts'
import type { CallSupervision, InFlight } from '../dispatch/in-flight.ts'
import { afterReading } from '../errors/timeout.ts'
import type { GateRegistrar } from '../gate/gate.ts'

// Wrappers for the kernel APIs that call a feature's code. They attribute calls and failures to the feature, and limit
// how long a call may take.

/** Wraps a message handler so that its failures are logged instead of thrown to the sender. */
export type Receive = <T>(call: string, handler: (data: T) => unknown) => (data: T) => void

export function createReceive (calls: InFlight, log: FastifyBaseLogger): Receive {
  return (call, handler) => (data) => {
    const failed = (err: unknown) => log.error({ err, call }, 'a message handler failed')
    try {
      const result: unknown = calls.run(() => handler(data), call)
      if (result instanceof Promise) result.catch(failed)
    } catch (err) {
      failed(err)
    }
  }
}

/** Counts the requests to a feature's HTTP routes as in flight, and limits how long a route may take to respond. */
export function superviseRoutes (app: FastifyInstance, calls: InFlight, { deadlineMs, late }: CallSupervision): void {
  app.addHook('onRequest', async (request, reply) => {
    const done = calls.begin((error) => fail(reply, error), routeName(request))
    // Fastify does not call the onResponse hook if the client disconnects.
    reply.raw.once('close', done)
  })
  // The deadline timer starts once the request has been read. The route must begin its response before the deadline.
  app.addHook('preHandler', async (request, reply) => {
    const cancelTimer = afterReading(deadlineMs, () => {
      if (reply.sent || reply.raw.headersSent || reply.raw.destroyed) return
      late(routeName(request), deadlineMs, false)
      fail(reply, lateError(routeName(request), deadlineMs))
    })
    reply.raw.once('close', cancelTimer)
  })
}

/** The name of a route in logs and metrics, without parameter values. */
const routeName = ({ method, routeOptions }: FastifyRequest) => `route ${method} ${routeOptions.url ?? ''}`

/** Responds with an error, unless a response has begun. */
function fail (reply: FastifyReply, error: Error): void {
  if (!reply.sent && !reply.raw.headersSent) reply.send(error)
}

/** Wraps the handlers of the feature's paths, so that an error in a handler counts as a fault of the feature. */
export function superviseGate (gate: GateRegistrar, { enter }: CallSupervision): GateRegistrar {
  return {
    http (prefix, handler, options) {
      gate.http(prefix, (request, response) => enter(`http ${prefix}`, () => handler(request, response)), options)
    },
    upgrade (path, options) {
      if (options.handle) {
        const { handle } = options
        return gate.upgrade(path, { ...options, handle: (request, socket, head) => enter(`upgrade ${path}`, () => handle(request, socket, head)) })
      }
      const { opened, receive, ...rest } = options
      gate.upgrade(path, {
        ...rest,
        ...(opened && { opened: (session) => enter(`connection ${path}`, () => opened(session)) }),
        ...(receive && { receive: (session, data, isBinary) => enter(`frame ${path}`, () => receive(session, data, isBinary)) })
      })
    }
  }
}

/** Wraps the callbacks and the links of the feature's sessions, so that their errors count as failures of the feature. */
export function superviseSockets (sockets: FeatureSockets, { enter, failed }: CallSupervision): FeatureSockets {
  const counted = <T>(call: string, run: () => T): T => {
    try {
      return run()
    } catch (error) {
      failed(call, error, true)
      throw error
    }
  }
  const supervised = <A extends unknown[]>(call: string, callback: ((...args: A) => void) | undefined) =>
    callback && ((...args: A) => counted(call, () => enter(call, () => callback(...args))))
  const superviseLink = <F>(link: Link<F>): Link<F> => {
    const call = 'session link'
    return {
      get open () { return counted(call, () => link.open) },
      get queuedBytes () { return counted(call, () => link.queuedBytes) },
      bytesOf: (frame) => counted(call, () => link.bytesOf(frame)),
      write: (frame) => counted(call, () => link.write(frame)),
      close: (code, reason) => counted(call, () => link.close(code, reason)),
      terminate: () => counted(call, () => link.terminate())
    }
  }
  return {
    ...sockets,
    get size () {
      return sockets.size
    },
    open (options) {
      const onClose = supervised('session onClose', options.onClose)
      return sockets.open({
        ...options,
        ...(onClose && { onClose }),
        ...(options.link ? { link: superviseLink(options.link) } : { onEvent: supervised('session onEvent', options.onEvent) })
      } as typeof options)
    }
  }
}

/**
 * Wraps the handlers of the feature's subscriptions, so that an error in a handler counts as a failure of the feature.
 * When the generation closes, ends the remaining subscriptions, because a generation that fails to start may not have
 * registered its own `onClose` hook yet.
 */
export function superviseBus (bus: Pick<Bus, 'publish' | 'subscribe' | 'unsubscribe'>, receive: Receive, onClose: (fn: () => Promise<void>) => void): Pick<Bus, 'publish' | 'subscribe' | 'unsubscribe'> {
  const handlers = new WeakMap<BusHandler, BusHandler>()
  const subscriptions = new Map<string, Set<BusHandler>>()
  onClose(async () => {
    await Promise.all([...subscriptions].flatMap(([channel, all]) => [...all].map(async (handler) => bus.unsubscribe(channel, handler))))
  })
  return {
    publish: (channel, message) => bus.publish(channel, message),
    subscribe (channel, handler) {
      const supervised = handlers.get(handler) ?? receive<string>('subscription', handler)
      handlers.set(handler, supervised)
      subscriptions.set(channel, (subscriptions.get(channel) ?? new Set()).add(supervised))
      return bus.subscribe(channel, supervised)
    },
    unsubscribe (channel, handler) {
      const supervised = handlers.get(handler) ?? handler
      const left = subscriptions.get(channel)
      left?.delete(supervised)
      if (left?.size === 0) subscriptions.delete(channel)
      return bus.unsubscribe(channel, supervised)
    }
  }
}
