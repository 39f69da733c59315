import type { RoomProducer } from './producer.ts'

/**
 * Interval between measurements of a producer, in milliseconds. A producer that exceeds its limit for two intervals is
 * closed. The two intervals are the 3 s in docs/protocol.md, "Audio".
 */
const intervalMs = 1500
const maxOver = 2
/**
 * A producer exceeds its limit if it sends more than its allowed bit rate times this factor (docs/protocol.md,
 * "Audio").
 */
const tolerance = 1.5

/**
 * Finds producers that exceed their allowed bit rate. Without limits, a client could flood every listener with packets.
 *
 * @param producers the producers on this server
 * @param limitOf the allowed bit rate of a producer, in bits per second; undefined if there is no limit
 * @param exceeded called with each producer that exceeds its limit; must close the producer
 * @returns a function that stops the measurements
 */
export function watchBitrates (
  producers: () => Iterable<RoomProducer>,
  limitOf: (producer: RoomProducer) => number | undefined,
  exceeded: (producer: RoomProducer, bitsPerSecond: number) => void
): () => void {
  const last = new WeakMap<RoomProducer, { bytes: number, at: number, over: number }>()

  async function measure (producer: RoomProducer): Promise<void> {
    const limit = limitOf(producer)
    if (limit === undefined) return
    const bytes = await producer.receivedBytes()
    const at = performance.now()
    const before = last.get(producer)
    const bitsPerSecond = before === undefined ? 0 : (bytes - before.bytes) * 8000 / (at - before.at)
    const over = bitsPerSecond > limit * tolerance ? (before?.over ?? 0) + 1 : 0
    last.set(producer, { bytes, at, over })
    if (over >= maxOver && !producer.closed) exceeded(producer, Math.round(bitsPerSecond))
  }

  let measuring = false
  const timer = setInterval(() => {
    if (measuring) return
    measuring = true
    // Measure the producers one after another, to avoid load peaks on a server with many producers.
    const run = async () => {
      for (const producer of producers()) await measure(producer).catch(() => { /* The producer was closed, or its worker died. */ })
    }
    run().finally(() => { measuring = false })
  }, intervalMs).unref()
  return () => clearInterval(timer)
}
