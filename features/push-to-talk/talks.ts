import { randomUUID } from 'node:crypto'
import { isCoded } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'
import { frameIdOf, nativeVoice } from './channels.ts'
import type { Channels } from './channels.ts'
import type { Delivery } from './delivery.ts'
import { maxTalkMs, release, renew, take } from './floor.ts'
import type { FloorHandle } from './floor.ts'
import { channelKey, channelTypes, encodeFrame, messageTypes, talkIdOf, textOf } from './frames.ts'
import type { Frame } from './frames.ts'
import type { Recorder } from './recorder.ts'
import type { Channel, CurrentTalk, NativeVoice, QueuedFrame, Radio, State, Talk } from './state.ts'
import type { Users } from './users.ts'
import type { VoicePacket } from './rtp-messages.ts'

/** Delay between a STOP and its acknowledgement, in milliseconds. The radios' protocol requires this delay. */
const stopDelayMs = 100
/** How often a talk renews its hold on the floor (the right to talk), in milliseconds. */
const renewMs = 1000
/** A native client's talk ends after silence of this length, in milliseconds. */
const nativeSilenceMs = 1000
/** How long the server waits before it requests a busy floor again for a native client, in milliseconds. */
const nativeRetryMs = 500
/** Maximum number of packets per native client that wait until the client has the floor. */
const maxWaiting = 50

/** Handles the talks (push-to-talk transmissions) of the users on this server. */
export interface Talks {
  /** Handles START. */
  start (radio: Radio, frame: Frame): Promise<void>
  /**
   * Handles AUDIO.
   *
   * @returns why the frame was dropped; undefined if the frame was sent
   */
  audio (radio: Radio, queued: QueuedFrame): 'no_floor' | 'malformed' | undefined
  /** Handles STOP. */
  stop (radio: Radio, frame: Frame): void
  /** Ends a radio's talk. If a channel is specified, does nothing unless the talk is in this channel. */
  end (radio: Radio, channel?: string): Promise<void>
  /** Handles a packet from a native client. */
  nativePacket (packet: VoicePacket): void
  /**
   * Ends the talks of the native clients that no longer send audio. `speaking` contains the clients that still send
   * audio, by user key.
   */
  nativesChanged (channel: Channel, speaking: ReadonlyMap<string, UserId>): void
  /**
   * Ends talks that were stopped or are too long, and talks of silent native clients. Also sends the delayed frames
   * that are due.
   */
  check (now: number): void
}

export interface TalksOptions {
  state: State
  channels: Channels
  users: Users
  delivery: Delivery
  floor: FloorHandle
  /** Undefined if talks are not recorded. */
  recorder: Recorder | undefined
  /** Rejects a frame with error replies, because the radio does not belong to the frame's channel. */
  unauthorized (radio: Radio, frame: Frame): void
}

const base64 = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')
const targetOf = ({ channelType, toId }: Pick<Frame, 'channelType' | 'toId'>) => `${channelType} ${channelKey(toId)}`

/** @returns the frame's bytes, with the connection's user as the sender */
export function boundBytes ({ frame, data }: QueuedFrame, { userId }: Radio): Uint8Array {
  return frame.fromId === userId ? data : encodeFrame({ ...frame, fromId: userId })
}

export function createTalks (app: FeatureInstance, { state, channels, users, delivery, floor, recorder, unauthorized }: TalksOptions): Talks {
  const { clock, log, metrics, nodeId } = app
  const started = metrics.counter('flylive_ptt_talks_total', 'Attempts of radios to start a transmission, by outcome (started, busy, unauthorized, unavailable)', ['outcome'])
  for (const outcome of ['started', 'busy', 'unauthorized', 'unavailable']) started.inc({ outcome }, 0)

  function createTalk (fields: Pick<Talk, 'channelType' | 'fromId' | 'userKey' | 'toId' | 'channel' | 'radio'>): Talk {
    const now = clock.now()
    return { id: randomUUID(), ...fields, startedAt: now, renewedAt: now, voiceAt: now, stop: undefined, isFinished: false, packets: recorder && [] }
  }

  const currentTalkOf = ({ id, fromId, userKey, startedAt, radio }: Talk): CurrentTalk => ({ talkId: id, fromId, userKey, nodeId, startedAt, isNative: !radio })

  /** @returns true if the talk now has the floor */
  async function takeFloor (channel: Channel, { id, fromId, userKey }: Talk): Promise<boolean> {
    await channels.ready(channel)
    return await floor.change(channel.roomId, (current) => take(current, { talkId: id, userId: fromId, userKey }, clock.now(),
      (talkId) => channel.current?.talkId === talkId ? channel.lastAudioAt : 0))
  }

  async function releaseFloor (channel: Channel, talk: Talk): Promise<void> {
    await floor.change(channel.roomId, (current) => release(current, talk.id)).catch((err: unknown) => {
      // If the release fails, the floor still becomes free 3 s after the last audio.
      if (!isCoded(err) || err.code !== 'ROOM_NOT_FOUND') log.warn({ err, roomId: channel.roomId }, 'failed to release the floor')
    })
  }

  function channelOf (talk: Talk): Channel | undefined {
    return talk.channel === undefined ? undefined : state.channels.get(talk.channel)
  }

  function begin (talk: Talk): void {
    state.talks.add(talk)
    if (talk.radio) talk.radio.talk = talk
    started.inc({ outcome: 'started' })
  }

  async function startInChannel (radio: Radio, frame: Frame): Promise<void> {
    const key = channelKey(frame.toId)
    if (!radio.channels.has(key)) {
      started.inc({ outcome: 'unauthorized' })
      return unauthorized(radio, frame)
    }
    const channel = channels.open(key)
    const reply = (messageType: number, payload: string) => delivery.send(radio, { channelType: channelTypes.group, messageType, fromId: radio.userId, toId: frame.toId, payload })
    const talk = createTalk({ channelType: channelTypes.group, fromId: radio.userId, userKey: radio.userKey, toId: frame.toId, channel: key, radio })
    let isFree: boolean
    try {
      isFree = await takeFloor(channel, talk)
    } catch (err) {
      log.debug({ err, roomId: channel.roomId }, 'failed to take the floor')
      started.inc({ outcome: 'unavailable' })
      return reply(messageTypes.startFailed, 'Unavailable')
    }
    if (!isFree) {
      started.inc({ outcome: 'busy' })
      return reply(messageTypes.startFailed, 'Busy')
    }
    // The radio may have been disconnected, or removed from the channel, while the server took the floor.
    if (!radio.session.open || !radio.channels.has(key)) return await releaseFloor(channel, talk)
    begin(talk)
    reply(messageTypes.startAck, textOf(frame.payload) || 'Acknowledged')
    channels.publish(channel, { kind: 'start', talk: currentTalkOf(talk), frame: base64(encodeFrame({ ...frame, fromId: radio.userId })) })
  }

  function startPrivate (radio: Radio, frame: Frame): void {
    const { channelType, toId } = frame
    begin(createTalk({ channelType, fromId: radio.userId, userKey: radio.userKey, toId, channel: undefined, radio }))
    delivery.send(radio, { ...frame, fromId: radio.userId, messageType: messageTypes.startAck, payload: frame.payload || 'Acknowledged' })
    users.publish(toId, { kind: 'frame', frame: base64(encodeFrame({ ...frame, fromId: radio.userId })) })
  }

  /** Renews a talk's hold on the floor, at most once per second. */
  function renewFloor (talk: Talk, channel: Channel): void {
    const now = clock.now()
    if (now - talk.renewedAt < renewMs) return
    talk.renewedAt = now
    floor.change(channel.roomId, (current) => renew(current, talk.id, now)).then((hasFloor) => { if (!hasFloor) lose(talk) })
      .catch((err: unknown) => log.debug({ err, roomId: channel.roomId }, 'failed to renew the floor'))
  }

  /** Ends a talk that has lost the floor. Sends no STOP, because the channel's members already receive another talk. */
  function lose (talk: Talk): void {
    if (talk.isFinished) return
    forget(talk)
    keep(talk, talkIdOf(talk, clock.now()))
  }

  function forget (talk: Talk): void {
    talk.isFinished = true
    state.talks.delete(talk)
    if (talk.radio?.talk === talk) talk.radio.talk = undefined
  }

  function relay (talk: Talk, channel: Channel, data: Uint8Array): void {
    renewFloor(talk, channel)
    channels.publish(channel, { kind: 'audio', talk: currentTalkOf(talk), frame: base64(data) })
  }

  async function finish (talk: Talk): Promise<void> {
    if (talk.isFinished) return
    forget(talk)
    const { id, channelType, fromId, userKey, toId, radio, startedAt } = talk
    const now = clock.now()
    const { at, messageId } = talk.stop ?? { at: now, messageId: talkIdOf(talk, now) }
    const channel = channelOf(talk)
    const head = { channelType, fromId, toId }
    const frame = base64(encodeFrame({ ...head, messageType: messageTypes.stop, payload: JSON.stringify({ duration: at - startedAt, message_id: messageId }) }))
    if (channel) {
      // Publish STOP before releasing the floor, so that members receive it before the next user's START.
      channels.publish(channel, { kind: 'end', talkId: id, userKey, frame })
      await releaseFloor(channel, talk)
    } else if (talk.channel === undefined) {
      users.publish(toId, { kind: 'frame', frame })
    }
    await keep(talk, messageId)
    if (radio) delivery.send(radio, { ...head, messageType: messageTypes.stopAck, messageId, payload: 'Acknowledged' })
  }

  async function keep ({ packets = [] }: Talk, messageId: string): Promise<void> {
    await recorder?.keep(messageId, packets).catch((err: unknown) => log.error({ err, messageId }, 'failed to store a talk'))
  }

  const finishSoon = (talk: Talk) => { finish(talk).catch((err: unknown) => log.error({ err }, 'failed to end a talk')) }

  async function startNative (channel: Channel, voice: NativeVoice): Promise<void> {
    const toId = frameIdOf(channel)
    const talk = createTalk({ channelType: channelTypes.group, fromId: voice.userId, userKey: voice.userKey, toId, channel: channel.key, radio: undefined })
    const isFree = await takeFloor(channel, talk).catch((err: unknown) => {
      log.debug({ err, roomId: channel.roomId }, 'failed to take the floor')
      return undefined
    })
    const waiting = voice.waiting ?? []
    voice.waiting = undefined
    started.inc({ outcome: isFree === undefined ? 'unavailable' : isFree ? 'started' : 'busy' })
    if (isFree !== true) {
      voice.deniedUntil = clock.now() + nativeRetryMs
      return
    }
    // The client may have stopped sending audio while the server took the floor.
    if (channel.natives.get(voice.userKey) !== voice) return await releaseFloor(channel, talk)
    state.talks.add(talk)
    voice.talk = talk
    channels.publish(channel, { kind: 'start', talk: currentTalkOf(talk), frame: base64(encodeFrame({ channelType: 0, messageType: messageTypes.start, fromId: voice.userId, toId, payload: '' })) })
    for (const packet of waiting) nativeAudio(channel, talk, packet)
  }

  function nativeAudio (channel: Channel, talk: Talk, packet: Uint8Array): void {
    talk.packets?.push(packet)
    relay(talk, channel, encodeFrame({ channelType: 0, messageType: messageTypes.audio, fromId: talk.fromId, toId: talk.toId, payload: packet }))
  }

  /** Ends a talk that is too long. The server drops the user's further audio until the user starts a new talk. */
  function cut (talk: Talk): void {
    if (talk.radio) talk.radio.cut = targetOf(talk)
    const voice = channelOf(talk)?.natives.get(talk.userKey)
    if (voice?.talk === talk) voice.mustPause = true
    finishSoon(talk)
  }

  return {
    async start (radio, frame) {
      if (radio.talk) await finish(radio.talk)
      radio.cut = undefined
      if (frame.channelType === channelTypes.group) await startInChannel(radio, frame)
      else startPrivate(radio, frame)
    },
    audio (radio, queued) {
      const { frame } = queued
      const { payload, toId } = frame
      if (!(payload instanceof Uint8Array) || payload.length === 0) return 'malformed'
      const { talk } = radio
      const isTalk = talk !== undefined && !talk.stop && targetOf(talk) === targetOf(frame)
      const data = boundBytes(queued, radio)
      if (frame.channelType === channelTypes.private) {
        // A radio is allowed to send private audio without a START, unless the radio's last talk to this user was too
        // long.
        if (radio.cut === targetOf(frame)) return 'no_floor'
        if (isTalk) talk.packets?.push(new Uint8Array(payload))
        users.publish(toId, { kind: 'frame', frame: base64(data) })
        return
      }
      const channel = isTalk ? channelOf(talk) : undefined
      if (!isTalk || !channel) return 'no_floor'
      talk.packets?.push(new Uint8Array(payload))
      relay(talk, channel, data)
    },
    stop (radio, frame) {
      const now = clock.now()
      const { talk } = radio
      if (talk && targetOf(talk) === targetOf(frame)) {
        talk.stop ??= { at: now, dueAt: now + stopDelayMs, messageId: talkIdOf(talk, now) }
        return
      }
      const { channelType, toId } = frame
      const messageId = talkIdOf({ channelType, toId, fromId: radio.userId, startedAt: now }, now)
      state.delayed.add({ at: now + stopDelayMs, radio, frame: { channelType, messageType: messageTypes.stopAck, fromId: radio.userId, toId, messageId, payload: 'Acknowledged' } })
    },
    async end (radio, channel) {
      const { talk } = radio
      if (talk && (channel === undefined || talk.channel === channel)) await finish(talk)
    },
    nativePacket ({ channel: key, userKey, packet, isVoice }) {
      const channel = state.channels.get(key)
      const voice = channel?.natives.get(userKey)
      if (!channel || !voice) return
      const now = clock.now()
      if (isVoice) voice.lastAudioAt = now
      const { talk } = voice
      if (talk && !talk.isFinished) {
        if (isVoice) talk.voiceAt = now
        return nativeAudio(channel, talk, packet)
      }
      if (voice.waiting) {
        if (voice.waiting.length < maxWaiting) voice.waiting.push(packet)
        return
      }
      if (!isVoice || voice.mustPause || now < voice.deniedUntil) return
      voice.waiting = [packet]
      startNative(channel, voice).catch((err: unknown) => log.error({ err }, 'failed to start a talk'))
    },
    nativesChanged (channel, speaking) {
      for (const userId of speaking.values()) nativeVoice(channel, userId)
      for (const voice of channel.natives.values()) {
        if (speaking.has(voice.userKey)) continue
        channel.natives.delete(voice.userKey)
        if (voice.talk) finishSoon(voice.talk)
      }
    },
    check (now) {
      for (const talk of state.talks) {
        if (talk.stop ? talk.stop.dueAt <= now : !talk.radio && now - talk.voiceAt > nativeSilenceMs) finishSoon(talk)
        else if (now - talk.startedAt >= maxTalkMs) cut(talk)
      }
      for (const channel of state.channels.values()) {
        for (const voice of channel.natives.values()) if (voice.mustPause && now - voice.lastAudioAt > nativeRetryMs) voice.mustPause = false
      }
      for (const delayed of state.delayed) {
        if (delayed.at > now) continue
        state.delayed.delete(delayed)
        delivery.send(delayed.radio, delayed.frame)
      }
    }
  }
}
