import { createError } from 'flylive-audio-server/feature'

export const KeyReused = createError('KEY_REUSED', 'This key was already used for a different gift', 409)
