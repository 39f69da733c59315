import createError from '@fastify/error'
import type { FastifyError } from '@fastify/error'
import { errors } from 'mediasoup'
import { isCoded, unavailable, ValidationFailed } from '../errors/codes.ts'

export const TransportNotFound = createError('TRANSPORT_NOT_FOUND', 'You have no transport %s', 404)
export const TransportWrongType = createError('TRANSPORT_WRONG_TYPE', 'This needs a transport of type %s', 409)
export const TransportAlreadyConnected = createError('TRANSPORT_ALREADY_CONNECTED', 'The transport is already connected', 409)
export const ProducerNotFound = createError('PRODUCER_NOT_FOUND', 'There is no producer %s here', 404)
export const ProducerLimit = createError('PRODUCER_LIMIT', 'You already have %d producers', 409)
export const ConsumerNotFound = createError('CONSUMER_NOT_FOUND', 'You have no consumer %s', 404)
export const CannotConsume = createError('CANNOT_CONSUME', 'Your RTP capabilities do not fit this producer', 409)

/**
 * What a client is told when mediasoup refuses. The shape of what it was given
 * is checked before; what is left are values that do not fit together, which
 * is the client's fault, and workers that are gone, which is not.
 *
 * @param error from a mediasoup call
 */
export function refusedByMedia (error: unknown): Error | FastifyError {
  if (isCoded(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof errors.WorkerClosedError || error instanceof errors.NotFoundError || /closed/i.test(message)) {
    return unavailable('The media server is restarting', error)
  }
  return new ValidationFailed(`The media server refuses this: ${message}`)
}
