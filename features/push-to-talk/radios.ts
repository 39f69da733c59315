import { setTimeout as delay } from 'node:timers/promises'
import { findTextIssue, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, Session, UserId } from 'flylive-audio-server/feature'
import { channelsIn, isChannel } from './membership.ts'
import type { Membership } from './membership.ts'
import type { Channels } from './channels.ts'
import type { Settings } from './config.ts'
import type { Delivery } from './delivery.ts'
import type { Devices } from './devices.ts'
import { channelKey, channelTypes, decodeFrame, encodeFrame, messageTypes, plainText, textOf } from './frames.ts'
import type { Frame } from './frames.ts'
import type { LoggedMessage, MessageLog } from './log.ts'
import { storeMs } from './state.ts'
import type { QueuedFrame, Radio, ReceivedMessage, State } from './state.ts'
import { boundBytes } from './talks.ts'
import type { Talks } from './talks.ts'
import type { RadioClaims } from './token.ts'
import type { UserMessage, Users } from './users.ts'

/** Maximum number of frames per radio that wait while an earlier frame is being handled. */
const maxQueued = 256
/** The replay of missed messages pauses while the radio's send queue contains more than this number of bytes. */
const maxReplayBytes = 65_536
/** How often a paused replay checks the send queue, in milliseconds. */
const replayPollMs = 20
/** Maximum time that frames from a newly connected radio wait for the replay of missed messages, in milliseconds. */
const replayWaitMs = 500
/**
 * Maximum time until a server detects a broken connection, in milliseconds. Messages sent in this time may be lost.
 */
const unnoticedMs = 60_000
/** The time up to which a user has received all messages, in epoch milliseconds, and the ids of later messages. */
const seenMessages = z.object({ at: z.number(), received: z.array(z.string()) })

/** @param stored the stored text; earlier versions stored only the time */
function parseSeen (stored = '0'): { at: number, received: ReadonlySet<string> } {
  const value = JSON.parse(stored) as unknown
  const { at, received } = typeof value === 'number' ? { at: value, received: [] } : seenMessages.parse(value)
  return { at, received: new Set(received) }
}

/** Reasons for dropping a frame: the values of the `reason` label of flylive_ptt_frames_dropped_total. */
const dropReasons = ['malformed', 'no_floor', 'ignored', 'overflow', 'rate_limited'] as const
type DropReason = typeof dropReasons[number]

/** Connected radios and their messages. */
export interface Radios {
  opened (session: Session): void
  closed (session: Session): void
  receive (session: Session, data: Buffer, isBinary: boolean): void
  /** Handles a message that any server may have sent to a user's radios. */
  fromServer (userKey: string, message: UserMessage): void
  /** Applies a change in a user's channels to the user's radios on this server. */
  channelsChanged (userKey: string): Promise<void>
  /** Removes a radio from a channel. */
  removed (radio: Radio, channel: string): void
  /** Rejects a frame with error replies, because the radio does not belong to the frame's channel. */
  unauthorized (radio: Radio, frame: Frame): void
}

export interface RadiosOptions {
  state: State
  channels: Channels
  users: Users
  delivery: Delivery
  membership: Membership
  messageLog: MessageLog
  devices: Devices
  settings: Settings
  talks (): Talks
}

const { group, private: privateChannel } = channelTypes
const base64 = (data: Uint8Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')

export function createRadios (app: FeatureInstance, { state, channels, users, delivery, membership, messageLog, devices, settings, talks }: RadiosOptions): Radios {
  const { clock, kv, log, metrics } = app
  const connected = metrics.gauge('flylive_ptt_radios', 'Connected radios')
  const received = metrics.counter('flylive_ptt_frames_received_total', 'Frames from radios')
  const dropped = metrics.counter('flylive_ptt_frames_dropped_total', 'Dropped frames from radios, by reason (malformed, no_floor, ignored, overflow, rate_limited)', ['reason'])
  for (const reason of dropReasons) dropped.inc({ reason }, 0)
  /** For each user, which messages the user has received: a {@link seenMessages}. */
  const seen = kv.namespace('push-to-talk:seen')
  const seenTtlMs = settings.offlineSeconds * 1000
  /**
   * For each user, how many messages the user has sent in the current minute, which began at `since`. Ordered by
   * `since`.
   */
  const sentMessages = new Map<string, { since: number, count: number }>()
  const drop = (reason: DropReason) => { dropped.inc({ reason }) }

  /** Stores that a user has received all messages up to the time `at`, and the later messages in `received`. */
  function see ({ userId, userKey }: Radio, at: number, received: readonly ReceivedMessage[] = []): void {
    seen.set(userKey, JSON.stringify({ at, received: received.map(({ messageId }) => messageId) }), { ttlMs: seenTtlMs }).catch((err: unknown) => log.debug({ err, userId }, 'failed to store which messages a user has received'))
  }

  /**
   * Sends the private messages that the user has missed and, if the user has been connected before, also the missed
   * channel messages. Then sends the messages that arrived during the replay.
   *
   * @param joined for each of the user's channels, when the user became a member, in epoch milliseconds. The user does
   *   not receive earlier messages
   */
  async function replay (radio: Radio, stored: string | undefined, joined: ReadonlyMap<string, number>): Promise<void> {
    const { at: since, received } = parseSeen(stored)
    const readAt = clock.now()
    // The earliest time of the messages to send, for each log.
    const begins = new Map([[`u:${radio.userKey}`, 0]])
    if (stored !== undefined) for (const [key, joinedAt] of joined) if (radio.channels.has(key)) begins.set(`g:${key}`, joinedAt)
    const logs = await messageLog.read([...begins.keys()])
    const missed = [...begins.values()].flatMap((begin, i) => (logs[i] ?? []).filter(({ at }) => at >= begin))
      .filter(({ at, fromKey, messageId }) => at > since && fromKey !== radio.userKey && !received.has(messageId))
      .sort((a, b) => a.at - b.at)
    const sent = new Set<string>()
    for (const { frame, messageId } of missed) {
      while (radio.session.open && radio.session.queuedBytes > maxReplayBytes) await delay(replayPollMs)
      sent.add(messageId)
      delivery.write(radio, Buffer.from(frame, 'base64'), messageId)
    }
    if (!radio.session.open) return
    release(radio, sent)
    radio.isCaughtUp = true
    see(radio, readAt - storeMs, radio.received)
  }

  /** Sends the messages that arrived during the replay, except those in `sent`. */
  function release (radio: Radio, sent?: ReadonlySet<string>): void {
    const held = radio.held ?? []
    radio.held = undefined
    for (const { event, messageId } of held) if (sent?.has(messageId) !== true) delivery.writeEvent(radio, event, messageId)
  }

  async function connect (radio: Radio): Promise<void> {
    const { session, userId, userKey, deviceId } = radio
    await users.add(userKey)
    const loggedIn = users.publish(userId, { kind: 'login', sessionId: session.id, deviceId })
    const claims = session.identity.claims as RadioClaims
    const [joined, seenAt] = await Promise.all([membership.connected(userId, claims), seen.get(userKey)]).catch((err: unknown) => {
      log.warn({ err, userId }, "store unavailable: using the channels in the radio's token, without missed channel messages")
      return [new Map(channelsIn(claims.channelIds).map((key) => [key, 0])), undefined] as const
    })
    if (!session.open) return
    // If a room cannot be opened now, the server opens it later. Until the room is open, the server rejects every START
    // in the channel.
    await Promise.allSettled([...joined.keys()].map((key) => channels.ready(channels.join(radio, key))))
    await loggedIn
    const replayed = replay(radio, seenAt, joined).catch((err: unknown) => {
      log.warn({ err, userId }, 'failed to send missed messages')
      release(radio)
    })
    // A radio with a slow connection can talk before it has received all missed messages.
    await Promise.race([replayed, delay(replayWaitMs, undefined, { ref: false })])
  }

  /** Handles a radio's frames one after another. */
  async function drain (radio: Radio): Promise<void> {
    for (let next = radio.queue.shift(); next; next = radio.queue.shift()) {
      try {
        await handle(radio, next)
      } catch (err) {
        log.warn({ err, userId: radio.userId, messageType: next.frame.messageType }, 'failed to handle a frame from a radio')
      }
    }
    radio.isBusy = false
  }

  function unauthorized (radio: Radio, { toId }: Frame): void {
    const head = { channelType: group, fromId: radio.userId, toId }
    delivery.send(radio, { ...head, messageType: messageTypes.unauthorizedGroup, payload: 'Unauthorized Group' })
    delivery.send(radio, { ...head, messageType: messageTypes.startFailed, payload: 'Ack Failed' })
  }

  /** @returns a promise if the radio's later frames must wait until this frame is handled */
  function handle (radio: Radio, queued: QueuedFrame): Promise<void> | void {
    const { frame } = queued
    const isGroup = frame.channelType === group
    switch (frame.messageType) {
      case messageTypes.audio: {
        const reason = talks().audio(radio, queued)
        if (reason !== undefined) drop(reason)
        return
      }
      case messageTypes.start: return talks().start(radio, frame)
      case messageTypes.stop: return talks().stop(radio, frame)
      case messageTypes.text:
      case messageTypes.image:
      case messageTypes.interactive: return message(radio, frame)
      case messageTypes.connection: return devices.set(radio.userId, radio.deviceId, textOf(frame.payload))
      case messageTypes.connectionTest:
        return delivery.send(radio, { channelType: privateChannel, messageType: messageTypes.connectionAck, fromId: 0, toId: radio.userId, payload: frame.payload })
      case messageTypes.userAdd:
      case messageTypes.userRemove: return isGroup ? selfJoin(radio, frame) : drop('ignored')
      case messageTypes.status:
      case messageTypes.userUpdate:
      case messageTypes.userDelete:
      case messageTypes.channelUpdate:
      case messageTypes.channelDelete:
      case messageTypes.delivered:
      case messageTypes.read:
        if (isGroup) return drop('ignored')
        users.publish(frame.toId, { kind: 'frame', frame: base64(boundBytes(queued, radio)) })
        return
      default: drop('ignored')
    }
  }

  async function selfJoin (radio: Radio, frame: Frame): Promise<void> {
    const key = channelKey(frame.toId)
    const isJoin = frame.messageType === messageTypes.userAdd
    if (!settings.selfJoin || !isChannel(key)) {
      if (isJoin) unauthorized(radio, frame)
      return drop('ignored')
    }
    await membership.change(radio.userId, key, isJoin)
    await app.cluster.send('ptt:channels', { userKey: radio.userKey })
    // The radio's next frame may be for this channel, so the change must be applied first.
    await channelsChanged(radio.userKey)
  }

  /** @returns the frame for the recipients of a message */
  function forRecipients (frame: Frame, fromId: UserId, messageId: string): Frame {
    const { channelType, messageType, toId, payload } = frame
    const head = { channelType, messageType, fromId, toId }
    if (messageType === messageTypes.image) return { ...head, messageId, payload }
    const text = messageType === messageTypes.interactive ? JSON.stringify(payload) : plainText(payload)
    return { ...head, payload: JSON.stringify({ message_id: messageId, text }) }
  }

  /**
   * Counts a message.
   *
   * @returns false if the user has exceeded the limit for this minute, across all of the user's radios on this server
   */
  function admit ({ userKey }: Radio): boolean {
    const now = performance.now()
    // Insertion order is chronological order.
    for (const [key, { since }] of sentMessages) {
      if (now - since < 60_000) break
      sentMessages.delete(key)
    }
    const sent = sentMessages.get(userKey) ?? { since: now, count: 0 }
    sentMessages.set(userKey, sent)
    return ++sent.count <= settings.messagesPerMinute
  }

  /** Stores a text, image or interactive message, acknowledges it, and sends it to the recipients. */
  async function message (radio: Radio, frame: Frame): Promise<void> {
    const { channelType, messageType, toId } = frame
    const { userId, userKey } = radio
    const key = channelKey(toId)
    const isGroup = channelType === group
    if (isGroup && !radio.channels.has(key)) return unauthorized(radio, frame)
    if (messageType !== messageTypes.image && findTextIssue(plainText(frame.payload))) return drop('malformed')
    if (!admit(radio)) return drop('rate_limited')
    const at = Math.max(clock.now(), radio.lastMessageAt + 1)
    radio.lastMessageAt = at
    const messageId = `${channelType}_${messageType}_${toId}_${userId}_${at}.txt`
    const encoded = base64(encodeFrame(forRecipients(frame, userId, messageId)))
    await messageLog.append(isGroup ? `g:${key}` : `u:${key}`, { at, fromKey: userKey, messageId, frame: encoded } satisfies LoggedMessage)
    const ack = messageType === messageTypes.interactive ? messageTypes.interactiveAck : messageTypes.textAck
    delivery.send(radio, { channelType, messageType: ack, fromId: userId, toId, messageId, payload: 'Acknowledged' })
    if (isGroup) channels.publish(channels.open(key), { kind: 'message', userKey, messageId, frame: encoded })
    else users.publish(toId, { kind: 'frame', frame: encoded, messageId })
  }

  function leave (radio: Radio, key: string): void {
    talks().end(radio, key).catch((err: unknown) => log.error({ err }, 'failed to end a talk'))
    channels.leave(radio, key)
  }

  async function channelsChanged (userKey: string): Promise<void> {
    for (const radio of state.users.get(userKey) ?? []) {
      const keys = new Set(await membership.channelsOf(radio.userId, radio.session.identity.claims as RadioClaims))
      for (const key of radio.channels) if (!keys.has(key)) leave(radio, key)
      if (!state.radios.has(radio.session.id)) continue
      for (const key of keys) if (!radio.channels.has(key)) channels.join(radio, key)
    }
  }

  return {
    opened (session) {
      const { claims, user: { id: userId } } = session.identity
      const { deviceId } = claims as RadioClaims
      const radio: Radio = {
        session, userId, userKey: session.userKey, deviceId, channels: new Set(), queue: [], isBusy: true, held: [], isCaughtUp: false, received: [], talk: undefined, cut: undefined, lastMessageAt: 0
      }
      state.radios.set(session.id, radio)
      const ofUser = state.users.get(radio.userKey) ?? new Set()
      state.users.set(radio.userKey, ofUser.add(radio))
      connected.set(state.radios.size)
      connect(radio).catch((err: unknown) => {
        log.error({ err, userId }, 'failed to connect a radio')
        session.close('OVERLOADED')
      }).finally(() => drain(radio))
    },
    closed (session) {
      const radio = state.radios.get(session.id)
      if (!radio) return
      const { userKey } = radio
      state.radios.delete(session.id)
      connected.set(state.radios.size)
      radio.queue.length = 0
      talks().end(radio).catch((err: unknown) => log.error({ err }, 'failed to end a talk'))
      for (const key of radio.channels) channels.leave(radio, key)
      const ofUser = state.users.get(userKey)
      ofUser?.delete(radio)
      if (ofUser?.size !== 0) return
      state.users.delete(userKey)
      users.remove(userKey)
      // A radio that has not received all missed messages receives all of them again after it reconnects.
      if (!radio.isCaughtUp) return
      // If the server closed the session, it does not wait to see whether the connection still works.
      const mayBeBroken = session.isLost || session.endedFor !== undefined
      if (mayBeBroken) see(radio, clock.now() - unnoticedMs)
      else see(radio, clock.now() - storeMs, radio.received)
    },
    receive ({ id }, data, isBinary) {
      const radio = state.radios.get(id)
      if (!radio) return
      received.inc()
      const frame = isBinary ? decodeFrame(data) : undefined
      if (!frame) return drop('malformed')
      if (radio.isBusy) {
        if (radio.queue.length >= maxQueued) drop('overflow')
        else radio.queue.push({ frame, data })
        return
      }
      try {
        const done = handle(radio, { frame, data })
        if (!done) return
        radio.isBusy = true
        done.catch((err: unknown) => log.warn({ err, userId: radio.userId, messageType: frame.messageType }, 'failed to handle a frame from a radio'))
          .finally(() => drain(radio))
      } catch (err) {
        // The payload cannot be converted to text, for example because it is nested too deeply.
        log.debug({ err, userId: radio.userId }, 'dropped a frame from a radio')
        drop('malformed')
      }
    },
    fromServer (userKey, message) {
      const radios = state.users.get(userKey)
      if (!radios) return
      if (message.kind === 'frame') return delivery.deliver(radios, Buffer.from(message.frame, 'base64'), undefined, message.messageId)
      // All servers receive login messages in the same order. If a radio's own login message has not arrived yet, the
      // radio connected later than the radio in this message, and therefore stays connected.
      for (const radio of radios) {
        const { session, userId, deviceId } = radio
        if (session.id === message.sessionId) state.announced.add(session)
        else if (state.announced.has(session)) {
          if (deviceId !== message.deviceId) {
            delivery.send(radio, { channelType: privateChannel, messageType: messageTypes.loginDuplicated, fromId: 0, toId: userId, payload: `userId ${userId} has logged in from another deviceId ${message.deviceId}` })
          }
          session.close('REPLACED')
        }
      }
    },
    channelsChanged,
    removed: leave,
    unauthorized
  }
}
