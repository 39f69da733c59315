import { RequestError } from './errors.ts'
import type { WireError } from './protocol.ts'

/**
 * Asks a server why it rejected a WebSocket connection. Browsers hide the response to a WebSocket upgrade. A POST
 * request to the same path returns the same response, and pages of any origin are allowed to read it. This function
 * does not use GET, because browsers omit the `Origin` header from a GET request to the page's own host.
 *
 * @param url the URL of the WebSocket, but with the scheme http or https
 * @returns the server's error; REFUSED if the response contains no error; UNREACHABLE with `details: { url }` if there
 *   is no response
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

/**
 * @returns the error in a response body; undefined if the body contains no error, for example because a proxy sent it
 */
export function errorIn (body: string): WireError | undefined {
  try {
    const { error } = JSON.parse(body) as { error?: Partial<WireError> }
    return typeof error?.code === 'string' && typeof error.message === 'string' ? error as WireError : undefined
  } catch {
    return undefined
  }
}

/**
 * True if the URL returns a response, even a response that the page is not allowed to read, such as a proxy's response.
 */
async function responds (url: string, signal: AbortSignal): Promise<boolean> {
  try {
    await fetch(url, { mode: 'no-cors', cache: 'no-store', signal })
    return true
  } catch {
    return false
  }
}
