import { createError } from 'flylive-audio-server/feature'

/**
 * The backend was asked and gave no good answer: it failed, broke off, took too
 * long, or said what is not in the contract. Whether it did what it was asked
 * for is unknown. Not being able to ask at all is UNAVAILABLE.
 */
export const BackendFailed = createError('BACKEND_FAILED', 'The backend failed: %s', 502)
