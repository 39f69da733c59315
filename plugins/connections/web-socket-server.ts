import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import websocket from '@fastify/websocket'
import { ValidationFailed } from '../errors/codes.ts'
import type { CodedError } from '../errors/codes.ts'
import { refuseUpgrade, rejectUpgrade } from '../errors/upgrades.ts'

/** The WebSocket subprotocol of the native protocol. The server selects this subprotocol if a client offers it. */
export const subprotocol = 'msab.v1'

/** How long the server waits for a client's close frame, in milliseconds. */
const closeTimeoutMs = 2000

/**
 * Registers the WebSocket server. The gate (plugins/gate) passes upgrade requests to this server.
 *
 * @param closeAll closes every session; called when the server stops
 */
export async function registerWebSocketServer (app: FastifyInstance, closeAll: () => void): Promise<void> {
  await app.register(websocket, {
    options: {
      server: app.gate.webSockets as Server,
      maxPayload: app.config.WS_MAX_FRAME_BYTES,
      // With this setting, the ws package handles one frame per socket per turn of the event loop, so that a burst of
      // frames from one client does not delay other clients.
      allowSynchronousEvents: false,
      // Compression saves little for small JSON frames, and the server would have to compress each message separately
      // for each socket.
      perMessageDeflate: false,
      handleProtocols: (offered: Set<string>, request: IncomingMessage) => {
        const { subprotocol: wanted = subprotocol } = app.gate.entranceOf(request) ?? {}
        if (typeof wanted === 'function') return wanted([...offered]) ?? false
        return offered.has(wanted) ? wanted : false
      }
    },
    // If the client sent invalid data, the ws package itself closes the connection with the appropriate code.
    errorHandler: (err, ws, request) => {
      if (ws.readyState !== ws.OPEN) return app.log.debug({ err, ip: request.ip }, 'socket error')
      app.log.error({ err }, 'failed to open a session for a connection')
      ws.terminate()
    },
    preClose: (done) => {
      const { clients } = app.websocketServer
      closeAll()
      app.websocketServer.close()
      const force = setTimeout(() => { for (const ws of clients) ws.terminate() }, closeTimeoutMs)
      const wait = () => {
        if (clients.size > 0) return setTimeout(wait, 10)
        clearTimeout(force)
        done()
      }
      wait()
    }
  })
  endFailedUpgrades(app)
  // The ws package emits this event if the headers of an upgrade request are invalid.
  app.websocketServer.on('wsClientError', (error, socket, request) => {
    refuseUpgrade(app.log, request, socket, new ValidationFailed(error.message) as CodedError, ['sec-websocket-version: 13'])
  })
}

/** Rejects an upgrade if opening its WebSocket throws. Without this rejection, the client would wait forever. */
function endFailedUpgrades ({ log, websocketServer }: FastifyInstance): void {
  const open = websocketServer.handleUpgrade.bind(websocketServer)
  websocketServer.handleUpgrade = (request, socket, head, opened) => {
    // Earlier responses may have been sent on the same socket.
    const bytesBefore = (socket as Socket).bytesWritten
    try {
      open(request, socket, head, opened)
    } catch (err) {
      log.error({ err }, 'failed to open a WebSocket')
      if ((socket as Socket).bytesWritten > bytesBefore) socket.destroy()
      else rejectUpgrade(socket, err)
    }
  }
}
