/** What the server says about a broadcast. */
export interface Info {
  title: string | null
  hostName: string | null
  speaking: { userId: string | number, name: string | null }[]
  isEncrypted: boolean
  /** Epoch milliseconds. */
  serverTime: number
}

/** Where a broadcast comes from. */
export interface Source {
  /** Address of the folder with the playlists: on this server or, as soon as the server has named it, on a CDN. */
  readonly folder: string
  /** @returns undefined if the room is not on air, or the server cannot be reached */
  info (): Promise<Info | undefined>
}

/** @param own address of the folder on this server */
export function createSource (own: string): Source {
  let folder = own
  return {
    get folder () {
      return folder
    },
    async info () {
      try {
        const answer = await fetch(`${folder}/info`)
        const body = await answer.json() as Partial<Info> & { hlsUrl?: string, error?: { details?: { hlsUrl?: string } } }
        const url = body.hlsUrl ?? body.error?.details?.hlsUrl ?? ''
        // All later requests go to the CDN, so that listeners do not load the server.
        if (/^https?:/.test(url)) folder = url.slice(0, url.lastIndexOf('/'))
        return answer.ok ? body as Info : undefined
      } catch {
        return undefined
      }
    }
  }
}
