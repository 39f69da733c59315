import { createError } from 'flylive-audio-server/feature'

/**
 * The backend's response is missing or invalid (an error status, a reset, a timeout or a contract
 * violation), although the backend may have processed the request. If the request did not reach
 * the backend, the error is UNAVAILABLE instead.
 */
export const BackendFailed = createError('BACKEND_FAILED', 'The backend failed: %s', 502)
