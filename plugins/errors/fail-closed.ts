import { isCoded, unavailable } from './codes.ts'

/**
 * Wraps an object whose methods access storage. If a method fails with an error that has no error code (connection
 * lost, timeout, disk full), the wrapper throws UNAVAILABLE instead.
 *
 * @param message the error message that the client receives
 */
export function failClosed<T extends object> (driver: T, message = 'The store is unreachable'): T {
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
