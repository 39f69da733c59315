import { RequestError } from './errors.ts'
import type { WireError } from './protocol.ts'

/**
 * Fetches the reason why a server rejected a WebSocket. Browsers hide the response to a WebSocket upgrade. A POST
 * request to the same path returns the same response, and pages from any origin may read it. The request is not a GET,
 * because browsers omit the `Origin` header from a GET to the page's own host.
 *
 * @param url the WebSocket's URL, but with http or https
 * @returns the server's error; REFUSED if the response has none; UNREACHABLE with `details: { url }` if there is no
 *   response
 */
export async function explainRefusal (url: string, token: string, timeoutMs: number): Promise<RequestError> {
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${token}` }, cache: 'no-store', signal })
    const body = await response.text()
    if (response.ok) return new RequestError({ code: 'REFUSED', message: 'The connection failed, but the server would accept it. A proxy may be blocking WebSockets' })
    return new RequestError(errorIn(body) ?? { code: 'REFUSED', message: `The connection was rejected with HTTP ${response.status}`, details: { status: response.status } })
  } catch (cause) {
    if (await responds(url, signal)) return new RequestError({ code: 'REFUSED', message: 'The connection was rejected; the browser hides the reason' }, { cause })
    return new RequestError({ code: 'UNREACHABLE', message: 'The server cannot be reached', details: { url } }, { cause })
  }
}

/** @returns the error in a response body; undefined if there is none, for example because a proxy sent the response */
export function errorIn (body: string): WireError | undefined {
  try {
    const { error } = JSON.parse(body) as { error?: Partial<WireError> }
    return typeof error?.code === 'string' && typeof error.message === 'string' ? error as WireError : undefined
  } catch {
    return undefined
  }
}

/** Whether the URL returns any response, even one that the page may not read (from a proxy, for example). */
async function responds (url: string, signal: AbortSignal): Promise<boolean> {
  try {
    await fetch(url, { mode: 'no-cors', cache: 'no-store', signal })
    return true
  } catch {
    return false
  }
}
