/** Information about a broadcast, as the server returns it. */
export interface Info {
  title: string | null
  hostName: string | null
  speaking: { userId: string | number, name: string | null }[]
  isEncrypted: boolean
  /** Epoch milliseconds. */
  serverTime: number
}

/** The server or CDN that delivers a broadcast. */
export interface Source {
  /** URL of the folder that contains the playlist. The folder is on this server until the server names a CDN. */
  readonly folder: string
  /** Whether the last {@link info} call reached the server or CDN. */
  readonly isReachable: boolean
  /** @returns undefined if the room is not on air or the server cannot be reached */
  info (): Promise<Info | undefined>
}

const timeoutMs = 5000

/** @param own URL of the playlist's folder on this server */
export function createSource (own: string): Source {
  let folder = own
  let isReachable = true
  return {
    get folder () {
      return folder
    },
    get isReachable () {
      return isReachable
    },
    async info () {
      try {
        const answer = await fetch(`${folder}/info`, { signal: AbortSignal.timeout(timeoutMs) })
        // While a server is down, its proxy may respond with a page that is not JSON.
        const body = await answer.json() as Partial<Info> & { hlsUrl?: string, error?: { details?: { hlsUrl?: string } } }
        const url = body.hlsUrl ?? body.error?.details?.hlsUrl ?? ''
        isReachable = true
        // All later requests go to the CDN, so that listeners put no load on the server.
        if (/^https?:/.test(url)) folder = url.slice(0, url.lastIndexOf('/'))
        return answer.ok ? body as Info : undefined
      } catch {
        isReachable = false
        return undefined
      }
    }
  }
}
