import fp from 'fastify-plugin'
import { FeatureDisabled, toWire, UnknownType, validationFailed } from '../errors/codes.ts'
import type { Session } from '../connections/session.ts'
import { createInFlight } from './in-flight.ts'
import type { InFlight } from './in-flight.ts'
import { createRateLimits } from './limits.ts'
import type { RateLimits } from './limits.ts'
import { parseFrame } from './parse.ts'
import { createMessageRecorder } from './routes.ts'
import type { MessageContext, MessageRegistrar, MessageRoute, MessageTable } from './routes.ts'

export interface Messages extends MessageRegistrar {
  limits: RateLimits
  /** @returns whose a type of message is */
  ownerOf (type: string): string | undefined
  /**
   * Replaces all that an owner registered by a new table, at once. Calls of the
   * old one that are running go on.
   *
   * @param calls where the calls of the new table are counted
   * @throws when a type belongs to another owner; then nothing is changed
   */
  install (owner: string, table: MessageTable | undefined, calls?: InFlight): void
  /** Makes the messages of a socket wait, in their order, until `until` is settled. */
  hold (session: Session, until: Promise<unknown>): void
  /** Types to be answered FEATURE_DISABLED, by the feature they belong to. */
  disable (feature: string, types: readonly string[]): void
  /** The contract as it is now. */
  contract (): (MessageTable & { owner: string })[]
}

declare module 'fastify' {
  interface FastifyInstance {
    messages: Messages
  }
}

interface Installed {
  owner: string
  table: MessageTable
  calls: InFlight
}

// Seconds. Most messages take well under a millisecond; the upper end shows a
// store or backend that hangs.
const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * The message router: reads frames, checks data in and out, answers each
 * request once, counts and limits. What the types mean is up to those who
 * register them.
 */
export default fp(async function messages (app) {
  const owners = new Map<string, Installed>()
  const byType = new Map<string, { route: MessageRoute, installed: Installed }>()
  const disabled = new Map<string, string>()
  const barriers = new WeakMap<Session, Promise<unknown>>()
  const limits = createRateLimits(app.hasDecorator('redis') ? app.redis : undefined)
  const kernel = createMessageRecorder()

  const outcomes = app.metrics.counter('flylive_socket_events_total', 'Messages handled, by type and outcome (ok or the error code)', ['event', 'status'])
  const latency = app.metrics.histogram('flylive_socket_event_latency_seconds', 'Time from a message to its reply, by type', ['event'], latencyBuckets)

  function install (owner: string, table: MessageTable | undefined, calls = createInFlight()) {
    const old = owners.get(owner)
    for (const { type } of table?.routes ?? []) {
      const other = byType.get(type)
      if (other && other.installed.owner !== owner) throw new Error(`The message type ${type} belongs to ${other.installed.owner}`)
    }
    for (const { type } of old?.table.routes ?? []) byType.delete(type)
    owners.delete(owner)
    if (table) {
      const installed: Installed = { owner, table, calls }
      owners.set(owner, installed)
      for (const route of table.routes) {
        byType.set(route.type, { route, installed })
        disabled.delete(route.type)
      }
    }
  }

  function receive (session: Session, text: string): void {
    const begin = performance.now()
    const message = parseFrame(text)
    const { id, type } = message
    const label = type !== undefined && byType.has(type) ? type : 'unknown'
    const afterReply: (() => void)[] = []

    const settle = (status: string) => {
      outcomes.inc({ event: label, status })
      latency.observe({ event: label }, (performance.now() - begin) / 1000)
      after()
    }
    // What a handler does then is no longer part of the answer.
    const after = () => {
      for (const fn of afterReply.splice(0)) {
        try {
          fn()
        } catch (err) {
          app.log.error({ err, ...about(session, id, type) }, 'what was to be done after a reply failed')
        }
      }
    }
    const fail = (error: unknown) => {
      const { status, wire } = toWire(error)
      if (status >= 500) app.log[wire.code === 'INTERNAL' ? 'error' : 'warn']({ err: error, ...about(session, id, type) }, 'message failed')
      if (id === undefined) session.send('error', type === undefined ? wire : { ...wire, type })
      else session.reply(id, { ok: false, error: wire })
      settle(wire.code)
    }

    if (message.error) return fail(message.error)

    const run = async () => {
      try {
        // Looked up when it starts: its feature may be replaced while it waits.
        const known = byType.get(message.type)
        if (!known) throw notAnswered(message.type)
        const reply = await known.installed.calls.run(() => handle(session, known.route, message.data, afterReply, about(session, id, type)))
        if (id !== undefined) session.reply(id, { ok: true, data: reply })
        settle('ok')
      } catch (error) {
        fail(error)
      }
    }

    // Messages start in order of arrival. An exclusive one holds back those
    // behind it until it is answered.
    const barrier = barriers.get(session)
    const started = barrier ? barrier.then(run) : run()
    if (byType.get(message.type)?.route.exclusive === true) hold(session, started)
  }

  function notAnswered (type: string): Error {
    const feature = disabled.get(type)
    return feature === undefined ? new UnknownType(type) : new FeatureDisabled(feature)
  }

  async function handle (session: Session, route: MessageRoute, data: unknown, afterReply: (() => void)[], tags: object): Promise<unknown> {
    const parsed = route.request.safeParse(data)
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
        return app.log.child(tags)
      },
      afterReply: (fn) => { afterReply.push(fn) }
    }
    const reply = await route.handler(parsed.data as never, context)
    return route.reply.parse(reply)
  }

  function hold (session: Session, until: Promise<unknown>): void {
    const barrier = until.catch(() => {}).finally(() => {
      if (barriers.get(session) === barrier) barriers.delete(session)
    })
    barriers.set(session, barrier)
  }

  app.sockets.receive(receive)

  app.decorate('messages', {
    limits,
    on (type, options, handler) {
      kernel.on(type, options, handler)
      install('kernel', kernel.table)
    },
    events (events) {
      kernel.events(events)
      install('kernel', kernel.table)
    },
    adds (to, fields) {
      kernel.adds(to, fields)
      install('kernel', kernel.table)
    },
    ownerOf: (type) => byType.get(type)?.installed.owner,
    install,
    hold,
    disable (feature, types) {
      for (const [type, owner] of disabled) if (owner === feature) disabled.delete(type)
      for (const type of types) if (!byType.has(type)) disabled.set(type, feature)
    },
    contract: () => [...owners.values()].map(({ owner, table }) => ({ owner, ...table }))
  } satisfies Messages)

  function about (session: Session, id: unknown, type: unknown) {
    return { sessionId: session.id, userId: session.user.id, correlationId: `${session.id}/${String(id ?? '-')}`, type }
  }
}, { name: 'messages', dependencies: ['sockets', 'metrics'] })
