import createError from '@fastify/error'
import { errors } from 'mediasoup'
import { isCoded, unavailable, ValidationFailed } from '../errors/codes.ts'

export const TransportNotFound = createError('TRANSPORT_NOT_FOUND', 'Transport %s does not exist', 404)
export const TransportWrongType = createError('TRANSPORT_WRONG_TYPE', 'The transport must have the type %s', 409)
export const TransportAlreadyConnected = createError('TRANSPORT_ALREADY_CONNECTED', 'The transport is already connected', 409)
export const ProducerNotFound = createError('PRODUCER_NOT_FOUND', 'Producer %s does not exist in this room', 404)
export const ProducerLimit = createError('PRODUCER_LIMIT', 'You already have %d producers', 409)
export const MediaLimit = createError('MEDIA_LIMIT', 'You already have audio in %d rooms', 429)
export const ConsumerNotFound = createError('CONSUMER_NOT_FOUND', 'Consumer %s does not exist', 404)
export const CannotConsume = createError('CANNOT_CONSUME', 'Your RTP capabilities do not support this producer', 409)

/**
 * Runs a call to mediasoup and converts its errors into coded errors. The data from the client has already been
 * validated. A mediasoup error therefore means that values contradict each other or that a worker, router or transport
 * was closed.
 *
 * @throws VALIDATION_FAILED if values contradict each other, UNAVAILABLE if a worker, router or transport was closed;
 *   an error that already has a code is rethrown unchanged
 */
export async function refused<T> (call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (isCoded(error)) throw error
    const message = error instanceof Error ? error.message : String(error)
    if (error instanceof errors.WorkerClosedError || error instanceof errors.NotFoundError || /closed/i.test(message)) {
      throw unavailable('The media connection was closed during the request', error)
    }
    throw new ValidationFailed(`The media server rejected the request: ${message}`)
  }
}
