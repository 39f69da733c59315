import type { Session } from '../connections/session.ts'

/** The order in which a session's requests start. */
export interface RequestOrder {
  /**
   * Starts a request of the session: at once, or after the exclusive requests before it.
   *
   * @param exclusive later requests of the session wait until this one is done
   */
  start (session: Session, request: () => Promise<void>, exclusive: boolean): void
  /** Delays the session's later requests until `until` settles. */
  hold (session: Session, until: Promise<unknown>): void
}

export function createRequestOrder (): RequestOrder {
  const barriers = new WeakMap<Session, Promise<unknown>>()

  function hold (session: Session, until: Promise<unknown>): void {
    const barrier = until.catch(() => {}).finally(() => {
      if (barriers.get(session) === barrier) barriers.delete(session)
    })
    barriers.set(session, barrier)
  }

  return {
    start (session, request, exclusive) {
      const barrier = barriers.get(session)
      const done = barrier ? barrier.then(request) : request()
      if (exclusive) hold(session, done)
    },
    hold
  }
}
