import { createError } from 'flylive-audio-server/feature'

export const MethodNotAllowed = createError('METHOD_NOT_ALLOWED', 'This URL supports %s', 405)
export const OfferNotAcceptable = createError('OFFER_NOT_ACCEPTABLE', '%s', 422)
export const SessionNotFound = createError('SESSION_NOT_FOUND', 'The session %s does not exist or has ended', 404)
export const PreconditionFailed = createError('PRECONDITION_FAILED', 'If-Match is not the current ETag of the session', 412)
export const PreconditionRequired = createError('PRECONDITION_REQUIRED', 'If-Match is required: the ETag of the session, or * to restart ICE', 428)
