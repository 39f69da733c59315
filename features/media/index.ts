import { createEvent, defineFeature, FeatureDisabled, fitting } from 'flylive-audio-server/feature'
import type { ConsumeOptions, ConsumerInfo, DtlsParameters, LocalRoom, ProducerInfo, ProducerOwner, RtpCapabilities, RtpParameters, Session, z } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { iceServersFor } from './ice-servers.ts'
import { events, greeting, joinReply, requests } from './messages.ts'

export { config, requests }

/**
 * What the `mix` feature provides. The interface is declared here instead of imported, so that a different feature can
 * provide `mix`.
 */
interface MixAccess {
  /** @throws any error that `sfu.consumeMix` throws */
  consume (session: Session, transportId: string, capabilities: RtpCapabilities, options: ConsumeOptions): Promise<ConsumerInfo>
}

declare module 'flylive-audio-server/feature' {
  interface FeatureSlots {
    mix: MixAccess
  }
}

/**
 * Maximum size of `existingProducers` in the reply to a join, in bytes. After the reply, the server sends events to
 * announce the remaining producers.
 */
const maxProducersBytes = 16_384

// The schemas of the requests check the shape that mediasoup expects. The type casts are needed, because mediasoup's
// types declare optional fields differently.

/**
 * Lets clients send and receive audio, and reports active speakers. The kernel (`app.sfu`) owns the transports,
 * producers and consumers, so audio continues during a reload.
 */
export default defineFeature(async function media (app, settings) {
  const { features, hooks, messages, rooms, sfu } = app
  messages.events(events)
  messages.adds('session:ready', greeting)
  messages.adds('room:join', joinReply)

  function mix (): MixAccess {
    const access = features.getFeature('mix')
    if (!access) throw new FeatureDisabled('mix')
    return access
  }

  const iceServers = ({ user }: Session) => iceServersFor(settings, user.id, Date.now())
  hooks.on('session:greet', (session) => ({ iceServers: iceServers(session) }))
  /**
   * Announces producers to one session. If the session is still joining, the events are sent after the reply to the
   * join.
   */
  function announce (room: LocalRoom, session: Session, producers: readonly ProducerInfo[]): void {
    const { roomId } = room
    for (const { producerId, userId, source, isPaused } of producers) {
      rooms.sendTo(room, session, createEvent('audio:newProducer', { roomId, producerId, userId, source, kind: 'audio' }))
      if (isPaused) rooms.sendTo(room, session, createEvent('audio:producerPaused', { roomId, producerId, userId, source }))
    }
  }

  hooks.on('room:join', async (room, session) => {
    const producers = sfu.producersOf(room.roomId)
    // If the seats feature is off, thousands of members may be sending audio, so the list of producers may be too long
    // for the reply.
    const existingProducers = producers.length === 0 ? [] : fitting(producers, maxProducersBytes)
    announce(room, session, producers.slice(existingProducers.length))
    return {
      rtpCapabilities: sfu.rtpCapabilities,
      existingProducers,
      maxBitrates: sfu.maxBitrates,
      activeSpeakers: await sfu.readSpeakers(room.roomId),
      iceServers: iceServers(session)
    } satisfies z.input<typeof joinReply>
  })

  // This limit applies to requests that cause work for the media worker or for every member of the room. Mutes need no
  // limit of their own, because a repeated mute has no effect and unmutes are limited.
  const limit = { perMinute: settings.commandsPerMinute, name: 'media', eventual: true }
  messages.on('transport:create', { ...requests['transport:create'], limit }, async ({ type }, { room, session }) =>
    ({ ...await sfu.createTransport(room, session, type) }) as never)
  messages.on('transport:connect', requests['transport:connect'], async ({ transportId, dtlsParameters }, { session }) => {
    await sfu.connectTransport(session, transportId, dtlsParameters as DtlsParameters)
    return {}
  })
  messages.on('transport:restartIce', { ...requests['transport:restartIce'], limit }, async ({ transportId }, { session }) =>
    ({ iceParameters: { ...await sfu.restartIce(session, transportId) } }))

  messages.on('audio:produce', { ...requests['audio:produce'], limit }, async ({ transportId, rtpParameters, source }, { session }) =>
    ({ id: await sfu.produce(session, transportId, rtpParameters as RtpParameters, { source }) }))
  messages.on('audio:closeProducer', requests['audio:closeProducer'], ({ producerId }, { session }) => {
    sfu.closeProducer(session, producerId)
    return {}
  })
  messages.on('audio:selfMute', requests['audio:selfMute'], async ({ producerId }, { session }) => {
    await sfu.pauseProducer(session, 'self', producerId)
    return {}
  })
  messages.on('audio:selfUnmute', { ...requests['audio:selfUnmute'], limit }, async ({ producerId }, { session }) => {
    await sfu.resumeProducer(session, 'self', producerId)
    return {}
  })

  messages.on('audio:consume', requests['audio:consume'], async ({ transportId, producerId, rtpCapabilities, paused }, { session }) => {
    const capabilities = rtpCapabilities as RtpCapabilities
    const { id, rtpParameters } = producerId === 'mix'
      ? await mix().consume(session, transportId, capabilities, { paused })
      : await sfu.consume(session, transportId, producerId, capabilities, { paused })
    return { id, producerId, kind: 'audio' as const, rtpParameters: { ...rtpParameters } }
  })
  messages.on('consumer:resume', requests['consumer:resume'], async ({ consumerId }, { session }) => {
    const { deferred } = await sfu.resumeConsumer(session, consumerId)
    return deferred ? { deferred: true as const } : {}
  })
  messages.on('consumer:pause', requests['consumer:pause'], async ({ consumerId }, { session }) => {
    await sfu.pauseConsumer(session, consumerId)
    return {}
  })
  messages.on('consumer:close', requests['consumer:close'], ({ consumerId }, { session }) => {
    sfu.closeConsumer(session, consumerId)
    return {}
  })

  // Every server calls these hooks for the producers on all servers, so each server sends the events only to its own
  // sockets.
  const toOthers = ({ sessionId }: ProducerOwner) => ({ local: true, ...(sessionId === undefined ? {} : { except: sessionId }) })
  hooks.on('media:producerOpened', (roomId, { producerId, userId, source }, owner) =>
    rooms.emit(roomId, 'audio:newProducer', { producerId, userId, source, kind: 'audio' }, toOthers(owner)))
  hooks.on('media:producerClosed', (roomId, { producerId, userId, source }, owner, reason) => {
    if (reason === undefined) rooms.emit(roomId, 'audio:producerClosed', { producerId, userId, source }, toOthers(owner))
    else rooms.emit(roomId, 'audio:producerClosed', { producerId, userId, source, reason }, { local: true })
  })
  hooks.on('media:producerPaused', (roomId, { producerId, userId, source }, owner) =>
    rooms.emit(roomId, 'audio:producerPaused', { producerId, userId, source }, toOthers(owner)))
  hooks.on('media:producerResumed', (roomId, { producerId, userId, source }, owner) =>
    rooms.emit(roomId, 'audio:producerResumed', { producerId, userId, source }, toOthers(owner)))
  hooks.on('media:consumerClosed', (session, consumerId) => session.send('consumer:closed', { roomId: session.roomId, consumerId }))
  hooks.on('media:speakers', (roomId, speakers) => rooms.emit(roomId, 'speaker:active', speakers, { local: true }))
  hooks.on('feature:disabled', (name) => { if (name === 'media') sfu.releaseAll() })
  hooks.on('media:reset', (roomId, reason, sessions) => {
    if (!sessions) {
      rooms.emit(roomId, 'media:reset', { reason }, { local: true })
      // Only producers on other servers have survived the reset, so announce those producers again.
      for (const { producerId, userId, source, isPaused } of sfu.producersOf(roomId)) {
        rooms.emit(roomId, 'audio:newProducer', { producerId, userId, source, kind: 'audio' }, { local: true })
        if (isPaused) rooms.emit(roomId, 'audio:producerPaused', { producerId, userId, source }, { local: true })
      }
      return
    }
    for (const session of sessions) {
      session.send('media:reset', { roomId, reason })
      // Clients that receive `media:reset` discard all producers, so announce the remaining producers again.
      const own = new Set(sfu.producerHandles(roomId).filter(({ owner }) => owner.sessionId === session.id).map(({ producerId }) => producerId))
      for (const { producerId, userId, source, isPaused } of sfu.producersOf(roomId)) {
        if (own.has(producerId)) continue
        session.send('audio:newProducer', { roomId, producerId, userId, source, kind: 'audio' })
        if (isPaused) session.send('audio:producerPaused', { roomId, producerId, userId, source })
      }
    }
  })
}, { name: 'media', dependencies: ['rooms', 'sfu'], config })
