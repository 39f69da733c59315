import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import { createInFlight } from '../dispatch/in-flight.ts'
import type { InFlight } from '../dispatch/in-flight.ts'
import { NotFound, toWire } from '../errors/codes.ts'
import type { ConnectionPath, GateTable, HttpHandler, UpgradePath } from './claims.ts'
import { pathOf } from './paths.ts'
import { refuseRequest, refuseUpgrade } from './refuse.ts'

/** The path at which a connection arrived. */
export interface Entrance extends ConnectionPath {
  path: string
  owner: string
}

/** Leads requests and upgrades to the owners of their paths. */
export interface Gate {
  /** Emits `upgrade` for WebSockets that the kernel opens. */
  readonly webSockets: EventEmitter
  /**
   * Replaces an owner's paths atomically. Running requests of the old ones go on.
   *
   * @param table undefined withdraws them all
   * @param inFlight counts the requests of the new table
   */
  install (owner: string, table: GateTable | undefined, inFlight?: InFlight): void
  /** @returns false if the request's path is not claimed */
  serve (request: IncomingMessage, response: ServerResponse): boolean
  /** Leads an upgrade to the owner of its path, or refuses it with NOT_FOUND. */
  upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** @returns the path at which a connection arrived; undefined for any that did not come through the gate */
  entranceOf (request: IncomingMessage): Entrance | undefined
  /** Whether upgrades of a path are accepted now. */
  accepts (path: string): boolean
}

interface Installed<T> {
  owner: string
  inFlight: InFlight
  claim: T
}

/** @param webSocketUrl the route that opens WebSockets, whatever path they came to */
export function createGate (log: FastifyBaseLogger, webSocketUrl: string): Gate {
  const webSockets = new EventEmitter()
  const tables = new Map<string, { table: GateTable, inFlight: InFlight }>()
  let http = new Map<string, Installed<HttpHandler>>()
  let upgrades = new Map<string, Installed<UpgradePath>>()
  const entrances = new WeakMap<IncomingMessage, Entrance>()

  function rebuild (): void {
    const installed = <T>(claims: (table: GateTable) => ReadonlyMap<string, T>) => new Map([...tables].flatMap(([owner, { table, inFlight }]) =>
      [...claims(table)].map(([path, claim]) => [path, { owner, inFlight, claim }] as const)))
    http = installed((table) => table.http)
    upgrades = installed((table) => table.upgrades)
  }

  function findHttp (path: string): Installed<HttpHandler> | undefined {
    if (http.size === 0) return
    for (let prefix = path; prefix !== ''; prefix = prefix.slice(0, prefix.lastIndexOf('/'))) {
      const found = http.get(prefix)
      if (found) return found
    }
  }

  function openWebSocket (request: IncomingMessage, path: string, { claim, owner, inFlight }: Installed<ConnectionPath>, socket: Duplex, head: Buffer): void {
    const { authenticate } = claim
    entrances.set(request, { ...claim, path, owner, ...(authenticate && { authenticate: (request) => inFlight.run(() => authenticate(request)) }) })
    if (path !== webSocketUrl) {
      const url = request.url as string
      Object.assign(request, { originalUrl: url, url: url.replace(path, webSocketUrl) })
    }
    webSockets.emit('upgrade', request, socket, head)
  }

  return {
    webSockets,
    install (owner, table, inFlight = createInFlight()) {
      if (table) tables.set(owner, { table, inFlight })
      else tables.delete(owner)
      rebuild()
    },
    serve (request, response) {
      const found = findHttp(pathOf(request.url ?? '/'))
      if (!found) return false
      const { claim, inFlight, owner } = found
      const failed = (error: unknown) => {
        if (toWire(error).status >= 500) log.error({ err: error, feature: owner, path: request.url }, 'request failed')
        refuseRequest(response, error)
      }
      response.once('close', inFlight.begin((error) => refuseRequest(response, error)))
      Promise.try(claim, request, response).catch(failed)
      return true
    },
    upgrade (request, socket, head) {
      const path = pathOf(request.url ?? '/')
      const found = upgrades.get(path)
      if (!found) return refuseUpgrade(socket, new NotFound(path))
      const { claim, owner, inFlight } = found
      if (!claim.handle) return openWebSocket(request, path, { claim, owner, inFlight }, socket, head)
      try {
        claim.handle(request, socket, head)
      } catch (err) {
        log.error({ err, feature: owner, path }, 'failed to handle an upgrade')
        refuseUpgrade(socket, err)
      }
    },
    entranceOf: (request) => entrances.get(request),
    accepts: (path) => upgrades.has(path)
  }
}
