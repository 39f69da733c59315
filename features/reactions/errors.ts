import { createError, withDetails } from 'flylive-audio-server/feature'

export const EmojiNotAllowed = createError('EMOJI_NOT_ALLOWED', 'The emoji is not in the list of allowed reactions', 400)

export const emojiNotAllowed = (allowed: readonly string[]) => withDetails(new EmojiNotAllowed(), { allowed })
