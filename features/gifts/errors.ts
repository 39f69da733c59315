import { createError } from 'flylive-audio-server/feature'

export const KeyReused = createError('KEY_REUSED', 'This key belongs to another gift', 409)
