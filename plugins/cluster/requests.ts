import { toWire, unavailable } from '../errors/codes.ts'
import type { CodedError } from '../errors/codes.ts'
import { withTimeout } from '../errors/timeout.ts'
import type { RegistrationTable } from '../registrations.ts'
import type { Bus } from './bus.ts'
import type { NodeLeases } from './leases.ts'
import type { Cluster } from './messages.ts'

type AnyHandler = (data: unknown) => unknown

interface Request {
  id: number
  from: string
  kind: string
  data: unknown
}

/** The reply to a request: the result of the request's handler, or the error that the handler threw. */
interface Reply {
  to: number
  reply?: unknown
  error?: { code: string, message: string, statusCode: number, details?: unknown }
}

/** The channel on which a server receives requests and replies. */
const channelOf = (nodeId: string) => `node:${nodeId}`

/** @returns the error that the handler on the other server threw */
const errorFrom = ({ message, ...rest }: NonNullable<Reply['error']>): CodedError => Object.assign(new Error(message), rest)

declare module '../registrations.ts' {
  interface RegistrationKinds {
    /** Handlers of requests from other servers, by kind. If a kind has several handlers, requests go to the newest one. */
    clusterRequest: AnyHandler
  }
}

/**
 * Sends requests between servers. Each server has one channel.
 *
 * Resolves when the server is subscribed to its channel.
 */
export async function createRequests (bus: Bus, leases: Pick<NodeLeases, 'areAlive'>, registrations: RegistrationTable, nodeId: string): Promise<Pick<Cluster, 'answer' | 'ask'>> {
  const handlers = registrations.inService('clusterRequest')
  const pending = new Map<number, PromiseWithResolvers<unknown>>()
  let lastId = 0

  async function answer (request: Request): Promise<void> {
    const reply: Reply = { to: request.id }
    try {
      const handler = handlers.get(request.kind)?.at(-1)
      if (!handler) throw unavailable(`Server ${nodeId} has no handler for ${request.kind}`)
      reply.reply = await handler.value(request.data)
    } catch (error) {
      const { status, wire } = toWire(error)
      reply.error = { ...wire, statusCode: status }
    }
    // If publishing fails, the request times out.
    await bus.publish(channelOf(request.from), JSON.stringify(reply))
  }

  function settle ({ to, reply, error }: Reply): void {
    if (error) pending.get(to)?.reject(errorFrom(error))
    else pending.get(to)?.resolve(reply)
  }

  await bus.subscribe(channelOf(nodeId), (text) => {
    const message = JSON.parse(text) as Request | Reply
    if ('to' in message) settle(message)
    else answer(message)
  })

  /** @throws UNAVAILABLE */
  async function send (to: string, request: Request): Promise<void> {
    const [[alive], sent] = await Promise.all([
      to === nodeId ? [true] : leases.areAlive([to]),
      bus.publish(channelOf(to), JSON.stringify(request))
    ])
    if (!alive) throw Object.assign(unavailable(`Server ${to} does not exist`), { isGone: true })
    if (!sent && to !== nodeId) throw unavailable(`Server ${to} is unreachable`)
  }

  return {
    answer: (kind, handler) => registrations.kernel.add('clusterRequest', kind, handler as AnyHandler),
    async ask (to, kind, data, timeoutMs) {
      const id = ++lastId
      const reply = Promise.withResolvers<unknown>()
      pending.set(id, reply)
      send(to, { id, from: nodeId, kind, data }).catch(reply.reject)
      try {
        return await withTimeout(reply.promise, timeoutMs, () => { throw unavailable(`Server ${to} did not reply to ${kind} within ${timeoutMs} ms`) }) as never
      } finally {
        pending.delete(id)
      }
    }
  }
}
