import { createEvent } from 'flylive-audio-server/feature'
import type { Face, FeatureInstance, OutgoingEvent } from 'flylive-audio-server/feature'
import { encodeFrame } from './frames.ts'
import type { Frame } from './frames.ts'
import { storeMs } from './state.ts'
import type { Radio } from './state.ts'

const frameEvent = 'ptt:frame'

/** The message format of radios. Radios receive only frames, not the events that native clients receive. */
export const face: Face<Uint8Array> = {
  name: 'push-to-talk',
  binary: true,
  // Never used, because the `receive` function of the WebSocket path handles the frames.
  parse: () => undefined,
  event: ({ type, data }) => type === frameEvent ? data as Uint8Array : undefined,
  reply: () => undefined
}

/** Writes frames to radios connected to this server. */
export interface Delivery {
  send (radio: Radio, frame: Frame): void
  /**
   * Writes an encoded frame to a radio immediately.
   *
   * @param messageId the message's id if the frame is a message that is stored for offline users
   */
  write (radio: Radio, data: Uint8Array, messageId?: string): void
  /** Like {@link write}, for a frame that may be shared with other radios. */
  writeEvent (radio: Radio, event: OutgoingEvent, messageId?: string): void
  /**
   * Writes a frame to many radios. The frame is encoded once.
   *
   * @param except the key of the user who must not receive the frame
   * @param messageId the message's id if the frame is a message that is stored for offline users
   */
  deliver (radios: Iterable<Radio>, data: Uint8Array, except?: string, messageId?: string): void
}

export function createDelivery ({ clock, metrics }: Pick<FeatureInstance, 'clock' | 'metrics'>): Delivery {
  const sent = metrics.counter('flylive_ptt_frames_sent_total', 'Frames sent to radios')

  function writeEvent ({ session, received }: Radio, event: OutgoingEvent, messageId?: string): void {
    session.write(event)
    if (messageId === undefined) return
    const at = clock.now()
    received.push({ messageId, at })
    while (received[0] && received[0].at < at - storeMs) received.shift()
  }

  function write (radio: Radio, data: Uint8Array, messageId?: string): void {
    writeEvent(radio, createEvent(frameEvent, data), messageId)
    sent.inc()
  }

  function writeOrHold (radio: Radio, event: OutgoingEvent, messageId?: string): void {
    // New messages wait until the missed messages are sent. Talks do not wait.
    if (radio.held && messageId !== undefined) radio.held.push({ event, messageId })
    else writeEvent(radio, event, messageId)
  }

  return {
    send: (radio, frame) => write(radio, encodeFrame(frame)),
    write,
    writeEvent,
    deliver (radios, data, except, messageId) {
      const event = createEvent(frameEvent, data)
      let count = 0
      for (const radio of radios) {
        if (radio.userKey === except) continue
        writeOrHold(radio, event, messageId)
        count++
      }
      if (count > 0) sent.inc(count)
    }
  }
}
