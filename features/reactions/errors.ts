import { createError, withDetails } from 'flylive-audio-server/feature'

export const EmojiNotAllowed = createError('EMOJI_NOT_ALLOWED', 'This is not one of the reactions there are', 400)

/** @param allowed what may be sent */
export const emojiNotAllowed = (allowed: readonly string[]) => withDetails(new EmojiNotAllowed(), { allowed })
