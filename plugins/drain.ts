import fp from 'fastify-plugin'

export interface Drain {
  /** Whether new sockets and rooms are refused. */
  readonly draining: boolean
  /**
   * Refuses new sockets and rooms, tells every client, and waits until all have
   * gone or the time is over. A second call changes nothing and waits for the first.
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
  let running: Promise<'empty' | 'deadline'> | undefined

  async function untilEmpty (seconds: number): Promise<'empty' | 'deadline'> {
    const deadline = Date.now() + seconds * 1000
    app.log.info({ sessions: app.sockets.size, seconds }, 'draining')
    app.sockets.broadcast('server:draining', { deadline })
    if (app.sockets.size === 0) return 'empty'
    const { promise, resolve } = Promise.withResolvers<'empty' | 'deadline'>()
    const timer = setTimeout(() => resolve('deadline'), seconds * 1000)
    app.hooks.on('session:close', () => {
      // The session that closes is still counted while its hooks run.
      setImmediate(() => { if (app.sockets.size === 0) resolve('empty') })
    })
    return await promise.finally(() => clearTimeout(timer))
  }

  app.decorate('drain', {
    get draining () {
      return running !== undefined
    },
    begin: (seconds) => (running ??= untilEmpty(seconds))
  } satisfies Drain)
}, { name: 'drain', dependencies: ['sockets', 'hooks'] })
