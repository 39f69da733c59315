import fp from 'fastify-plugin'

export interface Drain {
  /** Whether the server rejects new sockets and rooms. */
  readonly draining: boolean
  /**
   * Rejects new sockets and rooms, notifies all clients, and waits until all clients leave or the timeout expires. A
   * second call during the wait can only shorten the timeout; both calls then return at the same time. A call after the
   * wait waits again, unless the server stops.
   *
   * @param seconds the timeout
   * @param isFinal whether the server stops afterwards, so that {@link cancel} has no effect
   */
  begin (seconds: number, isFinal?: boolean): Promise<'empty' | 'deadline'>
  /**
   * Accepts sockets and rooms again, unless the server is stopping. Pending calls to {@link begin} return `deadline`.
   * Idempotent.
   */
  cancel (): void
}

declare module './hooks.ts' {
  interface KernelHooks {
    /**
     * Called when the server closes, after all sessions are closed and before the features are unloaded. A handler can
     * finish work that needs other features. The server waits for the handlers, but at most 5 s.
     */
    'server:closing': () => void | Promise<void>
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    drain: Drain
  }
}

/** Maximum wait for the handlers of `server:closing`, in milliseconds. */
const closingMs = 5000

/** Takes a server out of service. Draining itself closes no sessions. A shutdown closes the sessions that remain. */
export default fp(async function drain (app) {
  let over = Promise.withResolvers<'empty' | 'deadline'>()
  /** Whether the wait has ended, so that `over` is resolved. */
  let isOver = false
  let isWatching = false
  let isStopping = false
  let deadline = Infinity
  let timer: NodeJS.Timeout | undefined

  function begin (seconds: number, isFinal = false): Promise<'empty' | 'deadline'> {
    isStopping ||= isFinal
    const wanted = app.clock.now() + seconds * 1000
    if (isOver && !isStopping) reset()
    if (wanted >= deadline) return over.promise
    deadline = wanted
    clearTimeout(timer)
    timer = setTimeout(() => end('deadline'), seconds * 1000)
    app.log.info({ sessions: app.sockets.size, seconds }, 'draining')
    // Report the new state now, so that the other servers send no more clients to this server.
    app.nodes.report()
    // Send each client the URL of another server, and distribute the clients evenly over the URLs.
    const urls = app.nodes.urls()
    app.sockets.broadcast('server:draining', ...urls.length > 0 ? urls.map((url) => ({ deadline, url })) : [{ deadline }])
    // A closing session is still counted while its hooks run, so check the count after the hooks.
    if (!isWatching) app.hooks.on('session:close', () => { setImmediate(look) })
    isWatching = true
    look()
    return over.promise
  }

  function end (result: 'empty' | 'deadline'): void {
    clearTimeout(timer)
    isOver = true
    over.resolve(result)
  }

  function reset (): void {
    deadline = Infinity
    isOver = false
    over = Promise.withResolvers()
  }

  function look (): void {
    if (deadline !== Infinity && app.sockets.size === 0) end('empty')
  }

  function cancel (): void {
    if (deadline === Infinity || isStopping) return
    end('deadline')
    reset()
    app.nodes.report()
  }

  app.addHook('preClose', async () => { await app.hooks.settle('server:closing', closingMs) })

  app.decorate('drain', {
    get draining () {
      return deadline !== Infinity
    },
    begin,
    cancel
  } satisfies Drain)
}, { name: 'drain', dependencies: ['sockets', 'hooks', 'clock'] })
