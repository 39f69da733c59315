import type { Bus } from '../cluster/bus.ts'
import type { Publication } from '../store/types.ts'

// "Change and publish" as one operation: the store is independent of the bus and
// vice versa. On Redis the script that changes also publishes, in one step
// and one round trip; without Redis the message is delivered after the change.

/**
 * Changes something in the store and publishes a message about it.
 *
 * @param message undefined to publish nothing
 * @param change must pass its argument on to the store
 * @param changed gives the message for a driver that does not publish; undefined if nothing was changed
 * @returns the result of the change, once the message is published
 */
export async function changeAndPublish<R> (
  bus: Pick<Bus, 'encode' | 'publish'>,
  channel: string,
  message: string | undefined,
  change: (publish: Publication | undefined) => Promise<R>,
  changed: (result: R) => string | undefined
): Promise<R> {
  const encoded = message === undefined ? undefined : bus.encode(channel, message)
  const result = await change(encoded)
  const delayed = encoded ? undefined : changed(result)
  if (delayed !== undefined) await bus.publish(channel, delayed)
  return result
}

/**
 * Appends to a log and publishes a message about it. If the store cannot be
 * reached, the message is delivered on this server only.
 *
 * @param append must pass its argument on to the store; returns the number of receivers
 */
export async function appendAndPublish (
  bus: Pick<Bus, 'track' | 'publish'>,
  channel: string,
  message: string,
  append: (publish: Publication | undefined) => Promise<number>
): Promise<void> {
  const tracked = bus.track(channel, message)
  if (!tracked) {
    // Delivered in this turn, so that it keeps its place among other messages.
    await Promise.all([append(undefined), bus.publish(channel, message)])
    return
  }
  tracked.settle(await append(tracked.encoded).catch(() => 0))
}
