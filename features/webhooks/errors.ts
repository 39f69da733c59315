import { createError } from 'flylive-audio-server/feature'

export const DeadLetterNotFound = createError('DEAD_LETTER_NOT_FOUND', 'There is no dead letter %s', 404)
