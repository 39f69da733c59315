import fp from 'fastify-plugin'

export interface Drain {
  /** Whether the server rejects new sockets and rooms. */
  readonly draining: boolean
  /**
   * Rejects new sockets and rooms, notifies all clients, and waits until all have
   * left or the timeout has passed. A second call may shorten the timeout; both calls then return at the same time.
   *
   * @param seconds the timeout
   */
  begin (seconds: number): Promise<'empty' | 'deadline'>
}

declare module 'fastify' {
  interface FastifyInstance {
    drain: Drain
  }
}

/** Takes a server out of service; open sessions stay open until the deadline. */
export default fp(async function drain (app) {
  const over = Promise.withResolvers<'empty' | 'deadline'>()
  let deadline = Infinity
  let timer: NodeJS.Timeout | undefined

  function begin (seconds: number): Promise<'empty' | 'deadline'> {
    const wanted = app.clock.now() + seconds * 1000
    if (wanted >= deadline) return over.promise
    const first = deadline === Infinity
    deadline = wanted
    clearTimeout(timer)
    timer = setTimeout(() => over.resolve('deadline'), seconds * 1000)
    app.log.info({ sessions: app.sockets.size, seconds }, 'draining')
    app.sockets.broadcast('server:draining', { deadline })
    const look = () => {
      if (app.sockets.size > 0) return
      clearTimeout(timer)
      over.resolve('empty')
    }
    // A closing session is still counted while its hooks run.
    if (first) app.hooks.on('session:close', () => { setImmediate(look) })
    look()
    return over.promise
  }

  app.decorate('drain', {
    get draining () {
      return deadline !== Infinity
    },
    begin
  } satisfies Drain)
}, { name: 'drain', dependencies: ['sockets', 'hooks', 'clock'] })
