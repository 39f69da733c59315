import createError from '@fastify/error'

export const KeyReused = createError('KEY_REUSED', 'This key belongs to another gift', 409)
