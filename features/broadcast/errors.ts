import { createError } from 'flylive-audio-server/feature'

export const NotOnAir = createError('NOT_ON_AIR', 'Room %s is not on air', 409)
