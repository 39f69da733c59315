import { StartError } from './error.ts'
import type { Config } from './load.ts'

/**
 * @param error why the server could not listen on HOST and PORT
 * @returns a StartError that names the environment variable to change; the same error if its reason is unknown
 */
export function listenError (error: unknown, { HOST, PORT, MEDIASOUP_RTC_MIN_PORT: first, MEDIASOUP_WORKERS: workers }: Pick<Config, 'HOST' | 'PORT' | 'MEDIASOUP_RTC_MIN_PORT' | 'MEDIASOUP_WORKERS'>): unknown {
  switch ((error as NodeJS.ErrnoException | undefined)?.code) {
    case 'EADDRINUSE': return PORT >= first && PORT < first + workers
      ? new StartError(`Port ${PORT} is used by a media worker. Set PORT or MEDIASOUP_RTC_MIN_PORT to a different port.`, { cause: error })
      : new StartError(`Port ${PORT} on ${HOST} is in use. Stop the program that uses it, or set PORT to a different port; 0 selects a free port.`, { cause: error })
    case 'EACCES': return new StartError(`Port ${PORT} requires root. Set PORT to 1024 or higher, or start the server with the capability CAP_NET_BIND_SERVICE.`, { cause: error })
    case 'EADDRNOTAVAIL': return new StartError(`HOST: ${HOST} is not an address of this machine. 0.0.0.0 listens on all of its addresses.`, { cause: error })
    case 'EINVAL': return new StartError(`HOST: the server cannot listen on ${HOST}. A link-local address needs its network interface, like fe80::1%eth0.`, { cause: error })
    case 'ENOTFOUND': return new StartError(`HOST: the host name ${HOST} does not exist.`, { cause: error })
    default: return error
  }
}
