import type { FeatureInstance, LocalRoom, ProducerOwner, Session, UserId } from 'flylive-audio-server/feature'
import { adminRoutes } from './admin.ts'
import { createChannels, isNative } from './channels.ts'
import type { Settings } from './config.ts'
import { createDelivery } from './delivery.ts'
import { createDevices } from './devices.ts'
import { expire, floorState } from './floor.ts'
import { createMessageLog } from './log.ts'
import { channelOf, createMembership, isChannel } from './membership.ts'
import { createRadios } from './radios.ts'
import { createRecorder } from './recorder.ts'
import { createRtp } from './rtp.ts'
import { createState } from './state.ts'
import type { Channel, State } from './state.ts'
import { createTalks } from './talks.ts'
import type { Talks } from './talks.ts'
import { createUpdateQueue, createUpdates } from './updates.ts'
import { createUsers } from './users.ts'

const dayMs = 86_400_000

/** Assembles the feature from its parts. */
export function createService (app: FeatureInstance, settings: Settings) {
  const { clock, log, redis, rooms } = app
  const generation = Symbol('push-to-talk')
  const state: State = app.keep('state', createState)
  const rtp = app.keep('rtp', () => createRtp((err) => {
    log.error({ err }, 'the push-to-talk RTP thread failed')
    for (const channel of state.channels.values()) channel.tap?.close()
  }), (kept) => kept.close())
  const floor = rooms.roomState.define('push-to-talk', floorState)
  const membership = createMembership(app)
  const delivery = createDelivery(app)
  const devices = createDevices(app)
  const recorder = createRecorder(app, settings.recordDays * dayMs)
  adminRoutes(app, devices, recorder)

  // The parts depend on each other, so earlier parts access later parts through functions.
  const users = createUsers(app, { state, generation, receive: (userKey, message) => radios.fromServer(userKey, message) })
  const channels = createChannels(app, { state, generation, delivery, rtp, removed: (radio, { key }) => radios.removed(radio, key) })
  const radios = createRadios(app, { state, channels, users, delivery, membership, messageLog: createMessageLog(app, settings), devices, settings, talks: () => talks })
  const talks: Talks = createTalks(app, { state, channels, users, delivery, floor, recorder: settings.record ? recorder : undefined, unauthorized: radios.unauthorized })

  floor.onWake(async (roomId) => {
    const at = await floor.change(roomId, (current) => expire(current, clock.now()))
    if (at !== undefined) await floor.wakeAt(roomId, at)
  })

  function voicesChanged (channel: Channel): void {
    const voices = (channel.tap?.voices ?? []).filter(({ paused }) => !paused)
    rtp.command({ op: 'voices', channel: channel.key, voices: voices.map(({ ssrc, userId, levelExtensionId }) => ({ ssrc, userKey: String(userId), levelExtensionId })) })
    talks.nativesChanged(channel, new Map(voices.map(({ userId }) => [String(userId), userId])))
  }

  const queue = app.keep('updates', () => createUpdateQueue(log, redis), ({ subscriber }) => subscriber?.disconnect())
  const updates = createUpdates(app, queue, membership, async (userKey) => {
    await radios.channelsChanged(userKey)
    for (const session of app.sockets.ofUser(userKey)) await checkNative(session)
  })

  /** Closes the session of a native client that is in a channel's room if the user no longer belongs to the channel. */
  async function checkNative (session: Session): Promise<void> {
    const { roomId } = session
    if (roomId !== null && !state.radios.has(session.id) && await admit(roomId, session) === 'refused') session.close('KICKED')
  }

  /** Decides whether a session is allowed to join a room; returns undefined if the room belongs to no channel. */
  async function admit (roomId: string, session: Session): Promise<'managed' | 'refused' | undefined> {
    const key = channelOf(roomId)
    if (key === undefined) return
    if (state.gateways.has(session)) return 'managed'
    if (!isChannel(key)) return 'refused'
    const keys = await membership.channelsOf(session.user.id, session.identity.claims ?? {})
    return keys.includes(key) ? 'managed' : 'refused'
  }

  return {
    /**
     * Called when this generation of the feature becomes the running generation. The previous generation keeps its
     * subscriptions until it is closed, so no message is lost.
     */
    takeOver () {
      state.inService = generation
      channels.takeOver()
      users.takeOver()
      state.voicesChanged = voicesChanged
      rtp.receive = talks.nativePacket
      updates.takeOver()
      // Native clients may have joined the rooms of channels before the feature was enabled.
      for (const { roomId } of rooms.local()) openFor(roomId)
    },
    /**
     * Called when the feature is being disabled. The sessions end after this call, but the feature's hooks are not
     * called then.
     */
    disabled () {
      for (const { session } of state.radios.values()) {
        session.close('SHUTTING_DOWN')
        radios.closed(session)
      }
      for (const channel of state.channels.values()) talks.nativesChanged(channel, new Map())
      state.inService = undefined
    },
    opened: radios.opened,
    closed: radios.closed,
    receive: radios.receive,
    channelsChanged: updates.changed,
    admit,
    joined ({ roomId }: LocalRoom, session: Session) {
      if (isNative(state, session)) openFor(roomId)
    },
    kicked (roomId: string, userId: UserId) {
      const key = channelOf(roomId)
      if (key !== undefined) channels.publish({ key }, { kind: 'removed', userKey: String(userId) })
    },
    producerOpened (roomId: string, { kind, sessionId }: ProducerOwner) {
      const channel = state.channels.get(channelOf(roomId) ?? '')
      if (channel && kind === 'session' && sessionId !== channel.gateway?.id) channels.follow(channel)
    },
    async expireTalks () {
      await recorder.expire()
    },
    tick () {
      if (state.inService === generation) talks.check(clock.now())
    },
    check () {
      if (state.inService === generation) channels.check(clock.now())
    },
    async close () {
      updates.close()
      await Promise.all([channels.unsubscribe(), users.unsubscribe()])
    }
  }

  function openFor (roomId: string): void {
    const key = channelOf(roomId)
    if (key !== undefined && isChannel(key)) channels.open(key)
  }
}
