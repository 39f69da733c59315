import type { types } from 'mediasoup'

/**
 * Pipes a producer to another router.
 *
 * @param options mediasoup's options. `keepId` works only if the routers are on different workers
 * @throws any error that mediasoup throws
 */
export async function pipeProducer (from: types.Router, options: types.PipeToRouterOptions & { producerId: string }): Promise<{ consumer: types.Consumer, producer: types.Producer }> {
  const { pipeConsumer: consumer, pipeProducer: producer } = await from.pipeToRouter({ enableSctp: false, ...options })
  if (!consumer || !producer) throw new Error('mediasoup returned no pipe')
  // Replace mediasoup's listeners, which cause an unhandled rejection if the worker dies during a request.
  for (const [event, apply] of [['pause', () => producer.pause()], ['resume', () => producer.resume()]] as const) {
    consumer.observer.removeAllListeners(event).on(event, () => { apply().catch(() => { /* The pipe is closed. */ }) })
  }
  return { consumer, producer }
}
