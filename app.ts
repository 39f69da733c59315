import type { IncomingMessage } from 'node:http'
import { hostname } from 'node:os'
import { join } from 'node:path'
import autoload from '@fastify/autoload'
import Fastify, { LogController } from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Config } from './config/load.ts'
import { trustProxyOption } from './config/addresses.ts'
import { bodyLimit, useJsonBodies } from './config/body.ts'
import { routerOptions } from './config/router.ts'
import { kernelSecrets } from './config/secrets.ts'
import { schemaController } from './plugins/schema/compilers.ts'
import { createRedaction } from './plugins/schema/redaction.ts'
import { frameworkErrors } from './plugins/errors/index.ts'
import { defaultTimings } from './plugins/timings.ts'
import type { Timings } from './plugins/timings.ts'
import { readTls } from './plugins/tls/certificate.ts'

export interface AppOptions {
  config: Config
  logger?: FastifyServerOptions['logger']
  /** Folder that contains the features. Default: features/. */
  featuresDir?: string
  /**
   * If true, all media workers start together with the server, and the server does not start if a worker fails to
   * start. If false, each worker starts when it is first needed. Default: true.
   */
  warmWorkers?: boolean
  /** Overrides the defaults of plugins/timings.ts. */
  timings?: Partial<Timings>
}

const here = import.meta.dirname

/**
 * Builds the server from the kernel in plugins/, its HTTP routes in routes/, and the configured features.
 *
 * @returns the server, which starts when the caller calls `ready()` or `listen()`; `close()` releases all its resources
 */
export async function buildApp ({ config, logger = false, featuresDir = join(here, 'features'), warmWorkers = true, timings = {} }: AppOptions): Promise<FastifyInstance> {
  const redaction = createRedaction()
  redaction.add(kernelSecrets(config))
  const { requestMs, headersMs } = { ...defaultTimings, ...timings }
  // If an HTTP request takes longer than one of these timeouts, Node responds with 408 and closes the connection.
  // WebSockets are not affected.
  const httpOptions = {
    requestTimeout: requestMs,
    headersTimeout: headersMs,
    connectionsCheckingInterval: headersMs / 2,
    // Some HTTP clients offer to switch to HTTP/2 or TLS. The server ignores the offer and handles the request.
    shouldUpgradeCallback: ({ headers }: IncomingMessage) => headers.upgrade?.toLowerCase() === 'websocket'
  }
  const transport = config.SSL_KEY_PATH !== undefined && config.SSL_CERT_PATH !== undefined
    ? { https: { ...readTls({ keyPath: config.SSL_KEY_PATH, certPath: config.SSL_CERT_PATH }), ...httpOptions } }
    : { http: httpOptions }
  const app = Fastify({
    ...transport,
    logger: typeof logger === 'object' ? { base: { pid: process.pid, hostname: hostname(), node: config.NODE_ID }, hooks: { streamWrite: redaction.redact }, ...logger } : logger,
    requestTimeout: requestMs,
    bodyLimit,
    trustProxy: trustProxyOption(config.TRUST_PROXY),
    // Longer than Fastify's default, because the server waits for Redis, which may still be starting, and for each
    // feature that does not finish its start. The features start one after another, and each has its own timeout.
    pluginTimeout: 600_000,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    frameworkErrors,
    routerOptions,
    schemaController
  }) as unknown as FastifyInstance
  useJsonBodies(app)
  app.addHook('onResponse', async (request, reply) => {
    request.log.debug({ method: request.method, url: request.routeOptions.url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) }, 'call')
  })

  await app.register(autoload, {
    dir: join(here, 'plugins'),
    encapsulate: false,
    maxDepth: 1,
    options: { config, redaction, featuresDir, warmWorkers, timings }
  })
  await app.register(autoload, { dir: join(here, 'routes'), dirNameRoutePrefix: false })
  return app
}
