import fp from 'fastify-plugin'

export interface Drain {
  /** Whether new sockets and rooms are refused. */
  readonly draining: boolean
  /**
   * Refuses new sockets and rooms, tells every client, and waits until all have
   * gone or the time is over. A second call may bring the end nearer and waits with the first.
   *
   * @param seconds how long to wait
   */
  begin (seconds: number): Promise<'empty' | 'deadline'>
}

declare module 'fastify' {
  interface FastifyInstance {
    drain: Drain
  }
}

/** How a server stops taking part without cutting anybody off. */
export default fp(async function drain (app) {
  const over = Promise.withResolvers<'empty' | 'deadline'>()
  let deadline = Infinity
  let timer: NodeJS.Timeout | undefined

  function begin (seconds: number): Promise<'empty' | 'deadline'> {
    const wanted = Date.now() + seconds * 1000
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
    // The session that closes is still counted while its hooks run.
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
}, { name: 'drain', dependencies: ['sockets', 'hooks'] })
