import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { Face } from '../connections/face.ts'
import type { Identity } from '../connections/session.ts'
import { checkPath, checkPrefix, isBelow, overlapsRoute } from './paths.ts'

/** Answers every HTTP request below a prefix. The gate sends a coded error that it throws as its response. */
export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** A path whose WebSockets the kernel opens: its limits, refusals and sessions are those of `/ws`. */
export interface ConnectionPath {
  /** The native protocol by default. */
  face?: Face<string | Uint8Array>
  /** Chosen when a client offers it; `msab.v1` by default. */
  subprotocol?: string
  /**
   * Identifies the user. By default the feature `auth` does.
   *
   * @throws a coded error, which refuses the upgrade
   */
  authenticate?: (request: FastifyRequest) => Identity | Promise<Identity>
  handle?: undefined
}

/** A path whose upgrades the feature handles itself. */
export interface HandledPath {
  /** Takes over the socket. */
  handle: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

export type UpgradePath = ConnectionPath | HandledPath

/** Registers paths. They are withdrawn with their feature. */
export interface GateRegistrar {
  /**
   * Answers all HTTP requests to a prefix and below it. The handler sets its own
   * headers, CORS included; none of the server's apply.
   *
   * @param prefix whole segments, `/hls`; no other feature and no route of the server may be below it
   * @throws when it is taken
   */
  http (prefix: string, handler: HttpHandler): void
  /**
   * Accepts upgrades at exactly this path.
   *
   * @throws when it is taken
   */
  upgrade (path: string, options: UpgradePath): void
}

/** All paths of one owner; applied and withdrawn as a whole. */
export interface GateTable {
  http: ReadonlyMap<string, HttpHandler>
  upgrades: ReadonlyMap<string, UpgradePath>
}

/** An owner's paths and routes, against which a new one is checked. */
export interface PathOwner {
  name: string
  paths: GateTable
  routes: readonly { url: string }[]
}

/**
 * Records paths, to be installed later.
 *
 * @param owners those whose paths must not overlap with the new ones, read at each registration
 */
export function createGateRecorder (owners: () => Iterable<PathOwner>): GateRegistrar & { table: GateTable } {
  const http = new Map<string, HttpHandler>()
  const upgrades = new Map<string, UpgradePath>()
  return {
    table: { http, upgrades },
    http (prefix, handler) {
      checkPrefix(prefix)
      if (http.has(prefix)) throw new Error(`The prefix ${prefix} is registered twice`)
      for (const { name, paths, routes } of owners()) {
        const taken = paths.http.keys().some((other) => isBelow(prefix, other) || isBelow(other, prefix)) || routes.some(({ url }) => overlapsRoute(prefix, url))
        if (taken) throw new Error(`The prefix ${prefix} overlaps with a path of ${name}`)
      }
      http.set(prefix, handler)
    },
    upgrade (path, options) {
      checkPath(path)
      if (upgrades.has(path)) throw new Error(`Upgrades of ${path} are registered twice`)
      for (const { name, paths } of owners()) if (paths.upgrades.has(path)) throw new Error(`Upgrades of ${path} belong to ${name}`)
      upgrades.set(path, options)
    }
  }
}

/** @throws when a route is below a prefix of another owner */
export function checkRoute (url: string, owners: Iterable<PathOwner>): void {
  for (const { name, paths } of owners) {
    const prefix = paths.http.keys().find((prefix) => overlapsRoute(prefix, url))
    if (prefix !== undefined) throw new Error(`The route ${url} is below the prefix ${prefix} of ${name}`)
  }
}
