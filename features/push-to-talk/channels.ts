import { userKeyOf } from 'flylive-audio-server/feature'
import type { FeatureInstance, Identity, LocalRoom, Session, UserId } from 'flylive-audio-server/feature'
import type { Delivery } from './delivery.ts'
import { channelIdOf, channelTypes, decodeFrame, encodeFrame, messageTypes, talkIdOf } from './frames.ts'
import { roomOf } from './membership.ts'
import type { Rtp } from './rtp.ts'
import { maxOpusBytes, sentLevelExtensionId, sentPayloadType } from './rtp-messages.ts'
import type { Channel, CurrentTalk, NativeVoice, Radio, State, TalkInjection } from './state.ts'
import { createSubscriptions } from './subscriptions.ts'

/**
 * How long an unused channel stays open on this server, in milliseconds. A draining server closes unused channels at
 * once, because the drain ends when no sessions are left, and each open channel has a session.
 */
const lingerMs = 30_000
/**
 * A talk on another server counts as lost after this time without audio, in milliseconds. Either that server was
 * killed, or the talk's STOP was lost in a Redis outage.
 */
const lostTalkMs = 10_000
/** Maximum number of packets that wait until a talk's producer is open. */
const maxWaiting = 100

/**
 * A message to all servers that have radios or native clients in a channel. All servers receive these messages in the
 * same order.
 */
export type ChannelMessage =
  /** A talk starts. */
  { kind: 'start', talk: CurrentTalk, frame: string } |
  { kind: 'audio', talk: CurrentTalk, frame: string } |
  /** A server with native clients requests a producer for the talk. Only the radio's server can open this producer. */
  { kind: 'wanted', talkId: string } |
  { kind: 'end', talkId: string, userKey: string, frame: string } |
  /** A message in the channel, for example a text message. */
  { kind: 'message', userKey: string, messageId: string, frame: string } |
  /** The user is no longer a member of the channel. */
  { kind: 'removed', userKey: string }

const topicOf = (channel: string) => `push-to-talk:g:${channel}`

/** Manages the channels in use on this server: opens their rooms, and delivers talks and messages to the members. */
export interface Channels {
  /** @returns the channel, which is opened on this server if necessary */
  open (key: string): Channel
  /**
   * Resolves when the room of the channel is open.
   *
   * @throws if the room cannot be opened. The next call retries
   */
  ready (channel: Channel): Promise<void>
  join (radio: Radio, key: string): Channel
  leave (radio: Radio, key: string): void
  publish (channel: Pick<Channel, 'key'>, message: ChannelMessage): Promise<boolean>
  /** Starts receiving the audio of the channel's native clients. Called when a native client starts sending audio. */
  follow (channel: Channel): void
  /** Whether the channel's room has native clients on this server. */
  hasNatives (channel: Channel): boolean
  /** Reopens the rooms of channels in use, closes unused channels and ends lost talks. Called about once per second. */
  check (now: number): void
  /** Subscribes to the messages of all open channels. Called when this generation becomes the running generation. */
  takeOver (): void
  unsubscribe (): Promise<void>
}

export interface ChannelsOptions {
  state: State
  /** Identifies this generation of the feature. */
  generation: symbol
  delivery: Delivery
  rtp: Rtp
  /** Called for each of a user's radios when the user is removed from a channel. */
  removed (radio: Radio, channel: Channel): void
}

export function createChannels (app: FeatureInstance, { state, generation, delivery, rtp, removed }: ChannelsOptions): Channels {
  const { bus, clock, log, messages, nodeId, rooms, sfu, sockets } = app
  const subscriptions = createSubscriptions(app, {
    state,
    generation,
    topicOf,
    receive (key, text) {
      const channel = state.channels.get(key)
      if (channel) receive(channel, JSON.parse(text) as ChannelMessage)
    }
  })

  const publish: Channels['publish'] = async ({ key }, message) => await bus.publish(topicOf(key), JSON.stringify(message))

  /** @returns the sessions of the native clients on this server that are in the channel's room */
  function nativesOf ({ roomId, gateway }: Channel): Session[] {
    const room = rooms.get(roomId)
    return room ? [...room.members].filter((session) => session !== gateway) : []
  }

  function hasNatives (channel: Channel): boolean {
    const room = rooms.get(channel.roomId)
    return room !== undefined && room.members.size > (channel.gateway && room.members.has(channel.gateway) ? 1 : 0)
  }

  function receive (channel: Channel, message: ChannelMessage): void {
    switch (message.kind) {
      case 'start': {
        endInjection(channel)
        channel.current = message.talk
        channel.lastAudioAt = clock.now()
        deliver(message.frame, message.talk.userKey)
        injectionFor(channel, message.talk)
        return
      }
      case 'audio': {
        const { talk } = message
        // This server may have subscribed to the channel after the talk started.
        if (channel.current === undefined) channel.current = talk
        // Ignore the audio of all other talks, because those talks have lost the floor (the right to talk).
        if (channel.current?.talkId !== talk.talkId) return
        channel.lastAudioAt = clock.now()
        const data = deliver(message.frame, talk.userKey)
        const injection = injectionFor(channel, talk)
        if (injection) feed(injection, data)
        return
      }
      case 'wanted':
        channel.wantedTalkId = message.talkId
        if (channel.current?.talkId === message.talkId) injectionFor(channel, channel.current)
        return
      case 'end':
        if (channel.current !== undefined && channel.current?.talkId !== message.talkId) return
        channel.current = null
        endInjection(channel)
        deliver(message.frame, message.userKey)
        return
      case 'message':
        deliver(message.frame, message.userKey, message.messageId)
        return
      case 'removed':
        for (const radio of channel.radios) if (radio.userKey === message.userKey) removed(radio, channel)
    }

    function deliver (frame: string, except: string, messageId?: string): Uint8Array {
      const data = Buffer.from(frame, 'base64')
      delivery.deliver(channel.radios, data, except, messageId)
      return data
    }
  }

  /**
   * Opens a producer for a radio's talk in the channel's room, so that native clients receive the talk. Only the
   * radio's server opens the producer, and only if this server has native clients in the room or another server has
   * requested the producer. The kernel relays the producer to the other servers.
   *
   * @returns the producer of the talk, which is opened if necessary; undefined if this server must not open a producer
   */
  function injectionFor (channel: Channel, talk: CurrentTalk): TalkInjection | undefined {
    // The audio of a native client is already in the room.
    if (talk.isNative) return
    if (channel.injection?.talkId === talk.talkId) return channel.injection
    const isWanted = channel.wantedTalkId === talk.talkId
    if (talk.nodeId !== nodeId) {
      if (isWanted || !hasNatives(channel)) return
      channel.wantedTalkId = talk.talkId
      publish(channel, { kind: 'wanted', talkId: talk.talkId })
      return
    }
    if (!channel.gateway || !(isWanted || hasNatives(channel))) return
    const opening: TalkInjection = { talkId: talk.talkId, injection: undefined, waiting: [], isClosed: false }
    channel.injection = opening
    openInjection(channel, talk, opening, channel.gateway).catch((err: unknown) => {
      log.warn({ err, roomId: channel.roomId }, "failed to send a talk to a channel's native clients")
      opening.isClosed = true
    })
    return opening
  }

  async function openInjection (channel: Channel, talk: CurrentTalk, opening: TalkInjection, gateway: Session): Promise<void> {
    const { fromId: userId, userKey } = talk
    const owner = { userId, userKey, nodeId, sessionId: gateway.id, kind: 'session' as const }
    const ssrc = 1 + Math.floor(Math.random() * 0xfffffffe)
    const injection = await sfu.inject(channel.roomId, owner, { ssrc, payloadType: sentPayloadType, levelExtensionId: sentLevelExtensionId })
    if (opening.isClosed) return injection.close()
    const address = (to: { ip: string, port: number }) => rtp.command({ op: 'open', stream: talk.talkId, ip: to.ip, port: to.port, ssrc })
    address(injection)
    injection.on('reopened', address)
    injection.on('close', () => rtp.command({ op: 'close', stream: talk.talkId }))
    opening.injection = injection
    for (const packet of opening.waiting.splice(0)) rtp.command({ op: 'send', stream: talk.talkId, packet })
  }

  function feed ({ talkId, injection, waiting, isClosed }: TalkInjection, data: Uint8Array): void {
    const payload = decodeFrame(data)?.payload
    if (isClosed || !(payload instanceof Uint8Array) || payload.length === 0 || payload.length > maxOpusBytes) return
    const packet = new Uint8Array(payload)
    if (injection) rtp.command({ op: 'send', stream: talkId, packet })
    else if (waiting.length < maxWaiting) waiting.push(packet)
  }

  function endInjection (channel: Channel): void {
    const { injection } = channel
    if (!injection) return
    channel.injection = undefined
    injection.isClosed = true
    injection.injection?.close()
  }

  /** Sends the STOP frame that the server of a lost talk has not sent. */
  function endLost (channel: Channel, { fromId, userKey, startedAt }: CurrentTalk): void {
    const toId = frameIdOf(channel)
    const talk = { channelType: channelTypes.group, fromId, toId, startedAt }
    // Set `undefined` instead of null, so that the talk continues if more of its audio arrives.
    channel.current = undefined
    endInjection(channel)
    // The clock of the talk's server may be ahead of this server's clock.
    const endedAt = Math.max(channel.lastAudioAt, startedAt)
    const payload = JSON.stringify({ duration: endedAt - startedAt, message_id: talkIdOf(talk, endedAt) })
    delivery.deliver(channel.radios, encodeFrame({ ...talk, messageType: messageTypes.stop, payload }), userKey)
  }

  const gatewayIdentity = ({ key, roomId }: Channel): Identity =>
    ({ user: { id: roomId, name: `Push-to-talk ${key}`, roles: [], profile: { userId: roomId, id: roomId, name: `Push-to-talk ${key}` } } })

  async function openRoom (channel: Channel): Promise<void> {
    const { roomId } = channel
    const session = sockets.open({ identity: gatewayIdentity(channel), onClose: () => { if (channel.gateway === session) channel.gateway = undefined } })
    state.gateways.add(session)
    try {
      const { ownerId } = await messages.dispatch(session, 'room:join', { roomId }) as { ownerId: UserId | null }
      if (ownerId !== null) {
        // A client created the room while the feature was off.
        await rooms.close(roomId, 'closed_by_admin')
        await messages.dispatch(session, 'room:join', { roomId })
      }
    } catch (error) {
      session.end()
      throw error
    }
    channel.gateway?.end()
    channel.gateway = session
    if (hasNatives(channel)) follow(channel)
  }

  async function ready (channel: Channel): Promise<void> {
    if (channel.gateway?.open === true && channel.gateway.roomId === channel.roomId) return
    channel.ready ??= openRoom(channel).finally(() => { channel.ready = undefined })
    await channel.ready
  }

  function open (key: string): Channel {
    const known = state.channels.get(key)
    if (known) {
      known.idleSince = undefined
      return known
    }
    const channel: Channel = {
      key,
      roomId: roomOf(key),
      radios: new Set(),
      gateway: undefined,
      ready: undefined,
      current: undefined,
      lastAudioAt: 0,
      wantedTalkId: undefined,
      injection: undefined,
      tap: undefined,
      isTapping: false,
      natives: new Map(),
      idleSince: undefined
    }
    state.channels.set(key, channel)
    channel.ready = state.subscribeToChannel(key).then(() => openRoom(channel)).finally(() => { channel.ready = undefined })
    channel.ready.catch((err: unknown) => log.warn({ err, roomId: channel.roomId }, "failed to open a channel's room"))
    return channel
  }

  function close (channel: Channel): void {
    state.channels.delete(channel.key)
    endInjection(channel)
    channel.tap?.close()
    channel.gateway?.end()
    subscriptions.remove(channel.key)
  }

  function follow (channel: Channel): void {
    if (channel.tap || channel.isTapping || !channel.gateway) return
    channel.isTapping = true
    openTap(channel, channel.gateway)
      .catch((err: unknown) => log.warn({ err, roomId: channel.roomId }, "failed to receive audio from a channel's native clients"))
      .finally(() => { channel.isTapping = false })
  }

  async function openTap (channel: Channel, gateway: Session): Promise<void> {
    const tap = await sfu.tap(channel.roomId, { port: await rtp.port(), follows: ({ kind, sessionId }) => kind === 'session' && sessionId !== gateway.id })
    channel.tap = tap
    tap.on('voices', () => state.voicesChanged(channel))
    tap.on('close', () => {
      channel.tap = undefined
      state.voicesChanged(channel)
    })
    state.voicesChanged(channel)
  }

  return {
    open,
    ready,
    hasNatives,
    follow,
    join (radio, key) {
      const channel = open(key)
      radio.channels.add(key)
      channel.radios.add(radio)
      return channel
    },
    leave (radio, key) {
      radio.channels.delete(key)
      state.channels.get(key)?.radios.delete(radio)
    },
    publish,
    check (now) {
      for (const channel of state.channels.values()) {
        const { current } = channel
        if (current && current.nodeId !== nodeId && now - channel.lastAudioAt > lostTalkMs) endLost(channel, current)
        if (channel.radios.size > 0 || nativesOf(channel).length > 0) {
          channel.idleSince = undefined
          ready(channel).catch((err: unknown) => log.debug({ err, roomId: channel.roomId }, "failed to open a channel's room, retrying"))
          continue
        }
        channel.idleSince ??= now
        if ((app.drain.draining || now - channel.idleSince >= lingerMs) && !channel.ready) close(channel)
      }
    },
    takeOver () {
      state.subscribeToChannel = subscriptions.add
      for (const key of state.channels.keys()) subscriptions.add(key)
    },
    unsubscribe: subscriptions.close
  }
}

/** @returns the user's {@link NativeVoice} in the channel, which is created if necessary */
export function nativeVoice (channel: Channel, userId: UserId): NativeVoice {
  const userKey = userKeyOf(userId)
  const voice = channel.natives.get(userKey) ?? { userId, userKey, talk: undefined, waiting: undefined, deniedUntil: 0, mustPause: false, lastAudioAt: 0 }
  channel.natives.set(userKey, voice)
  return voice
}

/** The id of a channel in frames that the server creates. */
export const frameIdOf = ({ key }: Channel): UserId => channelIdOf(key)

/** True if the session belongs to a native client and is not one of the feature's own sessions. */
export const isNative = (state: State, session: Session): boolean => !state.gateways.has(session)

export type { LocalRoom }
