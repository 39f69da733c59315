import { RequestError } from './errors.ts'
import type { WireError } from './protocol.ts'

/**
 * Asks a server why it did not accept a WebSocket, because browsers hide the response to a WebSocket upgrade. A POST request to
 * the same path gets the same response, which pages of every origin may read. The client uses POST instead of GET, because
 * browsers send the page's origin with a POST request even to the page's own host.
 *
 * @param url the WebSocket's URL, but with http or https
 * @returns the server's error; REFUSED if the response has none; UNREACHABLE with `details: { url }` if there is no response
 */
export async function explainRefusal (url: string, token: string, timeoutMs: number): Promise<RequestError> {
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${token}` }, cache: 'no-store', signal })
    const body = await response.text()
    if (response.ok) return new RequestError({ code: 'REFUSED', message: 'The connection failed, although the server would accept it. A proxy may block WebSockets' })
    return new RequestError(errorIn(body) ?? { code: 'REFUSED', message: `The connection was rejected with HTTP ${response.status}`, details: { status: response.status } })
  } catch (cause) {
    if (await responds(url, signal)) return new RequestError({ code: 'REFUSED', message: 'The connection was rejected; the browser hides the reason' }, { cause })
    return new RequestError({ code: 'UNREACHABLE', message: 'The server cannot be reached', details: { url } }, { cause })
  }
}

/** @returns the error in a response body; undefined if another server has sent the response */
export function errorIn (body: string): WireError | undefined {
  try {
    const { error } = JSON.parse(body) as { error?: Partial<WireError> }
    return typeof error?.code === 'string' && typeof error.message === 'string' ? error as WireError : undefined
  } catch {
    return undefined
  }
}

/** Whether the URL sends any response, even one that the page may not read (from a proxy, for example). */
async function responds (url: string, signal: AbortSignal): Promise<boolean> {
  try {
    await fetch(url, { mode: 'no-cors', cache: 'no-store', signal })
    return true
  } catch {
    return false
  }
}
