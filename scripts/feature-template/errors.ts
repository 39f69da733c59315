import { createError, withDetails } from 'flylive-audio-server/feature'

export const TooLong = createError('SAMPLE_FEATURE_TOO_LONG', 'A text has at most %s characters', 400)

/** @param longest maximum number of characters */
export const tooLong = (longest: number) => withDetails(new TooLong(longest), { longest })
