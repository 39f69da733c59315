import { createError } from 'flylive-audio-server/feature'

/**
 * The backend rejected the request with 4xx, or its response is missing or invalid (another error status, a reset, a
 * timeout or a contract violation). In the second case, the backend may have processed the request. If the request did
 * not reach the backend, the error is UNAVAILABLE instead.
 */
export const BackendFailed = createError('BACKEND_FAILED', 'The backend failed: %s', 502)
