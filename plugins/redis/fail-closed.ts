import { isCoded, unavailable } from '../errors/codes.ts'

/**
 * Turns errors of the Redis client (connection lost, timeout, server error)
 * into UNAVAILABLE, for every method of an object.
 */
export function failClosed<T extends object> (driver: T): T {
  return new Proxy(driver, {
    get (target, name) {
      const member = Reflect.get(target, name) as unknown
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        try {
          return await (member as (...args: unknown[]) => unknown).apply(target, args)
        } catch (error) {
          throw isCoded(error) ? error : unavailable('The store cannot be reached', error)
        }
      }
    }
  })
}
