import { createError } from 'flylive-audio-server/feature'

/**
 * The backend rejected the request with 4xx or sent no valid response (another error status, a reset, a timeout or a
 * contract violation). If there is no valid response, the backend may still have processed the request. If the request
 * did not reach the backend or exceeded its rate limit, the error is UNAVAILABLE instead.
 */
export const BackendFailed = createError('BACKEND_FAILED', 'The backend failed: %s', 502)
