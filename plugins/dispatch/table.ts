import { FeatureDisabled, UnknownType } from '../errors/codes.ts'
import { createInFlight } from './in-flight.ts'
import type { InFlight } from './in-flight.ts'
import type { MessageRoute, MessageTable } from './routes.ts'

/** A message type's route, and where its running requests are counted. */
export interface InstalledRoute {
  route: MessageRoute
  inFlight: InFlight
}

/** The message types that are served now, by owner. */
export interface RouteTable {
  find (type: string): InstalledRoute | undefined
  /** @throws UNKNOWN_TYPE; FEATURE_DISABLED where the type belongs to a feature that is off */
  resolve (type: string): InstalledRoute
  /** @returns the owner of a message type */
  ownerOf (type: string): string | undefined
  /**
   * Replaces an owner's table atomically. Running requests of the old table go on.
   *
   * @param table undefined withdraws everything
   * @param inFlight counts the requests of the new table
   * @throws when a type belongs to another owner; then nothing has changed
   */
  install (owner: string, table: MessageTable | undefined, inFlight?: InFlight): void
  /** Sets the types that are answered FEATURE_DISABLED because this feature is off. */
  disable (feature: string, types: readonly string[]): void
  /** The current contract. */
  contract (): (MessageTable & { owner: string })[]
}

export function createRouteTable (): RouteTable {
  const owners = new Map<string, MessageTable>()
  const byType = new Map<string, InstalledRoute & { owner: string }>()
  const disabled = new Map<string, string>()

  const find = (type: string) => byType.get(type)
  const ownerOf = (type: string) => byType.get(type)?.owner

  return {
    find,
    resolve (type) {
      const installed = find(type)
      if (installed) return installed
      const feature = disabled.get(type)
      throw feature === undefined ? new UnknownType(type) : new FeatureDisabled(feature)
    },
    ownerOf,
    install (owner, table, inFlight = createInFlight()) {
      for (const { type } of table?.routes ?? []) {
        const other = ownerOf(type)
        if (other !== undefined && other !== owner) throw new Error(`The message type ${type} belongs to ${other}`)
      }
      for (const { type } of owners.get(owner)?.routes ?? []) byType.delete(type)
      owners.delete(owner)
      if (!table) return
      owners.set(owner, table)
      for (const route of table.routes) {
        byType.set(route.type, { route, inFlight, owner })
        disabled.delete(route.type)
      }
    },
    disable (feature, types) {
      for (const [type, owner] of disabled) if (owner === feature) disabled.delete(type)
      for (const type of types) if (!byType.has(type)) disabled.set(type, feature)
    },
    contract: () => [...owners].map(([owner, table]) => ({ owner, ...table }))
  }
}
