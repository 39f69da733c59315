import { createError } from 'flylive-audio-server/feature'

export const MessageNotFound = createError('MESSAGE_NOT_FOUND', 'The room has no message with this id, or the message is too old', 404)
