import { isCoded, unavailable } from '../errors/codes.ts'

/**
 * Turns errors of a storage (connection lost, timeout, disk full) into UNAVAILABLE, for every method of
 * an object.
 *
 * @param message for the client
 */
export function failClosed<T extends object> (driver: T, message = 'The store cannot be reached'): T {
  return new Proxy(driver, {
    get (target, name) {
      const member = Reflect.get(target, name) as unknown
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        try {
          return await (member as (...args: unknown[]) => unknown).apply(target, args)
        } catch (error) {
          throw isCoded(error) ? error : unavailable(message, error)
        }
      }
    }
  })
}
