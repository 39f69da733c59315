import { withAdditions } from '../dispatch/routes.ts'
import type { MessageTable } from '../dispatch/routes.ts'
import type { EventContract, RequestContract } from '../schema/contract.ts'

/**
 * Merges the messages of the kernel and of all features. The kernel's messages come first. The features' messages
 * follow, sorted by feature name, so that the result does not depend on the load order.
 */
export function messagesOf (tables: readonly (MessageTable & { owner: string })[]): { requests: RequestContract[], events: EventContract[] } {
  const sorted = tables.toSorted((a, b) => Number(b.owner === 'kernel') - Number(a.owner === 'kernel') || (a.owner < b.owner ? -1 : 1))
  const additions = sorted.flatMap((table) => table.additions)
  const accepted = sorted.flatMap((table) => table.accepted)
  return {
    requests: sorted.flatMap(({ owner, routes }) => routes.map(({ type, request, reply, room, limit }) =>
      ({ type, owner, request: withAdditions(type, request, accepted), reply: withAdditions(type, reply, additions), room: room !== false, limit }))),
    events: sorted.flatMap(({ owner, events }) => Object.entries(events).map(([type, data]) =>
      ({ type, owner, data: withAdditions(type, data, additions) })))
  }
}
