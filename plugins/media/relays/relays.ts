import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import { userKeyOf } from '../../connections/session.ts'
import type { UserId } from '../../connections/session.ts'
import { isCoded, unavailable } from '../../errors/codes.ts'
import { withTimeout } from '../../errors/timeout.ts'
import type { ProducerInfo, ProducerOwner } from '../producer.ts'
import type { MediaRooms } from '../room-media.ts'
import type { ActiveSpeakers } from '../speakers.ts'
import { registry } from './messages.ts'
import type { PipeEnd, RegisteredVoice, Registry } from './messages.ts'
import { Sink } from './sink.ts'
import { createSources } from './source.ts'

/**
 * How long `audio:consume` waits for a voice from another server, in milliseconds (docs/protocol.md,
 * "Audio").
 */
const fetchMs = 5000
const requestMs = 3000
const checkMs = 1000
const silenceMs = 2000
const checkSourcesMs = 10_000
/** Initial and maximum delay before a failed write to the registry is retried, in milliseconds. */
const retryMs = 100
const maxRetryMs = 2000
/** How long a join waits for the active speakers on another server, in milliseconds. */
const speakersMs = 500

/** Relays audio between this server and other servers. */
export interface Relays {
  /** A room's voices on other servers. */
  voicesOf (roomId: string): ProducerInfo[]
  /**
   * Reads the voices of rooms from the store. Use this for rooms that have no members on this server.
   *
   * @returns one list of voices per room, which includes the voices on this server
   * @throws UNAVAILABLE
   */
  read (roomIds: readonly string[]): Promise<ProducerInfo[][]>
  /** A room's active speakers on this server, and those that other servers have reported. */
  speakersOf (roomId: string): UserId[]
  /** Requests a room's active speakers from each server that has not reported them yet. Waits at most half a second. */
  learnSpeakers (roomId: string): Promise<void>
  /**
   * Waits until a voice from another server can be consumed, or has ended. Returns immediately if the producer is not on
   * another server.
   *
   * @throws UNAVAILABLE if the voice cannot be consumed after five seconds
   */
  fetch (roomId: string, producerId: string): Promise<void>
  /** Call this after a voice on this server is added to a room, removed, paused or resumed. */
  changed (roomId: string): void
  /** Call this after a room's media on this server is opened, closed or partly lost. */
  mediaChanged (roomId: string): void
  /** Call this after a room's active speakers on this server change. */
  speaking (roomId: string, speakers: ActiveSpeakers): void
  /** Number of open pipes. */
  counts (): { sources: number, sinks: number }
  /** Stops all relays. Resolves when this server's last changes to the registry are stored. */
  close (): Promise<void>
}

interface Speaking {
  activeSpeakers: UserId[]
  levels: number[]
}

/** A server's active speakers in a room, as the server sends them to the other servers. */
interface SpeakingMessage extends Speaking {
  node: string
  /** True if the active speakers have not changed, but an earlier message may have been lost. */
  isRepeated?: boolean
}

/** This server's relay state for one room. */
interface RelayedRoom {
  /** The voices on other servers, as last announced to the members. */
  voices: Map<string, RegisteredVoice>
  sinks: Map<string, Sink>
  speaking: Map<string, Speaking>
  /** Pending requests for active speakers, by server. */
  asking: Map<string, Promise<void>>
  /** The servers whose last change of active speakers may have been lost. */
  outdated: Set<string>
  waiting: Set<() => void>
}

const isWildcard = (ip: string) => ip === '0.0.0.0' || ip === '::'

/** @returns the address on which pipes listen, and the address at which other servers reach them */
function addressOf ({ RELAY_IP, MEDIASOUP_LISTEN_IP: listenIp, MEDIASOUP_ANNOUNCED_IP: announced }: FastifyInstance['config']): { ip: string, announcedIp: string } {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  // Pipes need an IP address, not a host name. Servers on the same network can use the machine's own address.
  const ownAddress = () => interfaces.find(({ family, internal }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1'
  const announcedIp = RELAY_IP ?? (isWildcard(listenIp) ? announced.find((address) => isIP(address) !== 0) ?? ownAddress() : listenIp)
  const isOwn = interfaces.some(({ address }) => address === announcedIp)
  // Behind NAT, the announced address is not an address of this machine, so listen on MEDIASOUP_LISTEN_IP.
  return { ip: isOwn ? announcedIp : isWildcard(listenIp) ? (isIP(announcedIp) === 6 ? '::' : '0.0.0.0') : listenIp, announcedIp }
}

/** The metrics of relays, which a server without Redis also exports. */
export function createRelayMetrics ({ metrics }: Pick<FastifyInstance, 'metrics'>) {
  const pipes = metrics.gauge('flylive_relay_pipes', 'Pipes that relay audio to other servers (out) and from other servers (in)', ['direction'])
  for (const direction of ['in', 'out']) pipes.set({ direction }, 0)
  const failures = metrics.counter('flylive_relay_failures_total', 'Failed attempts to receive audio from another server, by reason: refused (the request to that server failed) or silent (no packets arrived)', ['reason'])
  for (const reason of ['refused', 'silent']) failures.inc({ reason }, 0)
  return { pipes, failures }
}

export function createRelays (app: FastifyInstance, rooms: MediaRooms, { pipes, failures }: ReturnType<typeof createRelayMetrics>): Relays {
  const { bus, config, hooks, leases, log, nodeId, timings } = app
  const { ip, announcedIp } = addressOf(config)
  const known = new Map<string, RelayedRoom>()
  // The registry may change during a restore. If a change is based on an outdated registry, each server then adds its
  // own missing voices to the registry.
  const state = app.rooms.roomState.define('media', registry, { changesDuringRestore: true })
  const listenInfo = (): types.TransportListenInfo => ({ protocol: 'udp', ip, portRange: { min: config.RELAY_MIN_PORT, max: config.RELAY_MAX_PORT } })
  const endOf = ({ tuple, srtpParameters }: types.PipeTransport): PipeEnd => ({ ip: announcedIp, port: tuple.localPort, srtpParameters })
  const sources = createSources(app, { rooms, listenInfo, endOf, requestMs, checkMs: checkSourcesMs })
  let epoch = 0
  let closed = false

  // The registry. This server writes its own voices to the registry, with one write at a time per room.

  const writing = new Map<string, { again: boolean, done: Promise<void> }>()
  /** Number of consecutive failed writes, and the retry timer, by room. */
  const retries = new Map<string, { failures: number, timer: NodeJS.Timeout }>()

  const ownVoices = (roomId: string) => [...rooms.get(roomId)?.producers.values() ?? []].filter(({ owner }) => owner.kind !== 'relay')
  const entryOf = ({ info: { userId, source, isPaused }, owner: { userKey } }: ReturnType<typeof ownVoices>[number]): RegisteredVoice =>
    ({ node: nodeId, userId, userKey, source, paused: isPaused })

  /**
   * @returns a copy of the registry that lists the current voices on this server; the same object if the registry
   *   already lists them
   */
  function withOwn (roomId: string, before: Registry | undefined): Registry | undefined {
    const own = Object.fromEntries(ownVoices(roomId).map((producer) => [producer.producerId, entryOf(producer)]))
    const listed = Object.entries(before?.voices ?? {}).filter(([, { node }]) => node === nodeId)
    const isSame = listed.length === Object.keys(own).length && listed.every(([producerId, { paused }]) => own[producerId]?.paused === paused)
    if (isSame) return before
    return { voices: { ...Object.fromEntries(Object.entries(before?.voices ?? {}).filter(([, { node }]) => node !== nodeId)), ...own } }
  }

  function forgetRetry (roomId: string): void {
    clearTimeout(retries.get(roomId)?.timer)
    retries.delete(roomId)
  }

  async function write (roomId: string, mine: { again: boolean }): Promise<void> {
    try {
      while (mine.again) {
        mine.again = false
        await state.change(roomId, (before) => {
          const after = withOwn(roomId, before)
          return { ...(after === undefined || after === before ? {} : { state: after }), result: undefined }
        })
      }
      forgetRetry(roomId)
    } catch (error) {
      // Retry the write, because other servers do not get new voices until it succeeds. Also retry if the store has
      // lost the room, because the room will soon be restored.
      const isGone = isCoded(error) && error.code === 'ROOM_NOT_FOUND' && !known.has(roomId)
      const { failures = 0 } = retries.get(roomId) ?? {}
      forgetRetry(roomId)
      if (closed || isGone) return
      retries.set(roomId, { failures: failures + 1, timer: setTimeout(() => changed(roomId), Math.min(retryMs * 2 ** failures, maxRetryMs)).unref() })
    } finally {
      writing.delete(roomId)
    }
  }

  function changed (roomId: string): void {
    const current = writing.get(roomId)
    if (current) {
      current.again = true
      return
    }
    const mine = { again: true, done: Promise.resolve() }
    writing.set(roomId, mine)
    mine.done = write(roomId, mine)
  }

  /**
   * Removes the voices of a dead server from the registry.
   *
   * @throws UNAVAILABLE
   */
  async function removeVoices (roomId: string, dead: string): Promise<void> {
    await state.change(roomId, (before) => {
      const voices = Object.entries(before?.voices ?? {})
      const kept = voices.filter(([, { node }]) => node !== dead)
      return { ...(kept.length === voices.length ? {} : { state: { voices: Object.fromEntries(kept) } }), result: undefined }
    }).catch((error: unknown) => {
      if (!isCoded(error) || error.code !== 'ROOM_NOT_FOUND') throw error
    })
  }

  /**
   * Removes the voices of a server from the registry if the server has no lease. This is necessary because a server may
   * fail to remove its own voices when it shuts down.
   *
   * @throws UNAVAILABLE
   */
  async function removeIfDead (roomId: string, node: string): Promise<void> {
    // Do nothing just after the store has lost its data: every server then lacks a lease until its next heartbeat.
    if (await leases.msSinceLoss() <= timings.leaseMs) return
    const [isAlive] = await leases.areAlive([node])
    if (isAlive === false) await removeVoices(roomId, node)
  }

  // The voices on other servers.

  const infoOf = (room: RelayedRoom, producerId: string, { node, userId, source, paused }: RegisteredVoice): ProducerInfo =>
    ({ producerId, userId, source, isPaused: paused || room.sinks.get(node)?.isInterrupted === true })
  const ownerOf = ({ node, userId, userKey }: RegisteredVoice): ProducerOwner => ({ userId, userKey, nodeId: node, kind: 'relay' })

  function roomOf (roomId: string): RelayedRoom {
    const room = known.get(roomId) ?? { voices: new Map(), sinks: new Map(), speaking: new Map(), asking: new Map(), outdated: new Set(), waiting: new Set() }
    known.set(roomId, room)
    return room
  }

  function registered (roomId: string, next: Registry | undefined): void {
    const isFirst = !known.has(roomId)
    const room = roomOf(roomId)
    const before = room.voices
    room.voices = new Map(Object.entries(next?.voices ?? {}).filter(([, { node }]) => node !== nodeId))
    const tell = (name: 'Opened' | 'Closed' | 'Paused' | 'Resumed', producerId: string, voice: RegisteredVoice) =>
      hooks.emit(`media:producer${name}`, roomId, infoOf(room, producerId, voice), ownerOf(voice))
    if (!isFirst) {
      for (const [producerId, voice] of before) if (!room.voices.has(producerId)) tell('Closed', producerId, voice)
      for (const [producerId, voice] of room.voices) {
        const older = before.get(producerId)
        if (!older) {
          tell('Opened', producerId, voice)
          if (voice.paused) tell('Paused', producerId, voice)
        } else if (older.paused !== voice.paused) tell(voice.paused ? 'Paused' : 'Resumed', producerId, voice)
      }
    }
    forgetSpeakers(roomId, room, before)
    pull(roomId)
    for (const check of room.waiting) check()
    // Update this server's entries in the registry if they are outdated.
    if (withOwn(roomId, next) !== next) changed(roomId)
  }

  /** Pulls a room's voices from the servers that have them, if the room has media on this server. */
  function pull (roomId: string): void {
    const room = known.get(roomId)
    if (!room || closed) return
    const media = rooms.get(roomId)
    const byNode = media && !media.closed ? Map.groupBy(room.voices, ([, { node }]) => node) : new Map<string, [string, RegisteredVoice][]>()
    for (const [node, sink] of room.sinks) {
      if (byNode.has(node)) continue
      sink.close()
      room.sinks.delete(node)
    }
    for (const [node, voices] of byNode) {
      const sink = room.sinks.get(node) ?? new Sink(node, media as NonNullable<typeof media>, {
        cluster: app.cluster,
        log,
        nodeId,
        listenInfo,
        endOf,
        nextEpoch: () => ++epoch,
        requestMs,
        silenceMs,
        fetched: () => { for (const check of room.waiting) check() },
        failed: (reason) => {
          failures.inc({ reason })
          if (reason === 'silent') return
          removeIfDead(roomId, node).catch(() => { /* The store is unavailable. The sink tries again. */ })
        },
        interrupted: () => {
          for (const [producerId, voice] of room.voices) {
            if (voice.node !== node || voice.paused) continue
            const isPaused = room.sinks.get(node)?.isInterrupted === true
            hooks.emit(isPaused ? 'media:producerPaused' : 'media:producerResumed', roomId, infoOf(room, producerId, voice), ownerOf(voice))
          }
        },
        lost: (producerId) => {
          const voice = room.voices.get(producerId)
          if (!voice) return
          // The voice's consumers were closed together with the pipe. Announce that the voice has ended and started
          // again, so that clients consume it again.
          const info = infoOf(room, producerId, voice)
          hooks.emit('media:producerClosed', roomId, info, ownerOf(voice))
          hooks.emit('media:producerOpened', roomId, info, ownerOf(voice))
          if (info.isPaused) hooks.emit('media:producerPaused', roomId, info, ownerOf(voice))
        }
      })
      room.sinks.set(node, sink)
      sink.want(new Map(voices))
    }
    count()
  }

  function count (): void {
    pipes.set({ direction: 'out' }, sources.size)
    pipes.set({ direction: 'in' }, [...known.values()].reduce((sum, { sinks }) => sum + sinks.size, 0))
  }

  // Active speakers. When the active speakers on a server change, the server sends them to the other servers.

  const speakersTopic = 'media:speakers'

  function merged (roomId: string): ActiveSpeakers {
    const own = rooms.get(roomId)?.speaking() ?? { activeSpeakers: [], levels: [] }
    const all = [own, ...known.get(roomId)?.speaking.values() ?? []]
      .flatMap(({ activeSpeakers, levels }) => activeSpeakers.map((userId, i) => ({ userId, level: levels[i] ?? 0 })))
    const unique = [...new Map(all.map((one) => [userKeyOf(one.userId), one])).values()]
    const [loudest] = unique.toSorted((a, b) => b.level - a.level)
    return { userId: loudest?.userId ?? null, activeSpeakers: unique.map(({ userId }) => userId), levels: unique.map(({ level }) => level), timestamp: Date.now() }
  }

  /**
   * Requests a room's active speakers from each server that has not sent them yet, because a server sends its active
   * speakers only when they change.
   */
  async function learnSpeakers (roomId: string): Promise<void> {
    const room = known.get(roomId)
    if (!room) return
    const unknown = new Set(room.voices.values().filter(({ node, paused }) => !paused && !room.speaking.has(node)).map(({ node }) => node))
    await Promise.all([...unknown].map((node) => {
      const asking = room.asking.get(node) ?? app.cluster.ask(node, 'relay:speakers', { roomId }, speakersMs)
        // A server that does not reply sends its active speakers when they next change.
        .catch(() => ({ activeSpeakers: [], levels: [] }))
        .then((speaking) => { if (!room.speaking.has(node)) room.speaking.set(node, speaking) })
        .finally(() => room.asking.delete(node))
      room.asking.set(node, asking)
      return asking
    }))
  }

  const keyOf = ({ activeSpeakers }: Pick<Speaking, 'activeSpeakers'>) => JSON.stringify(activeSpeakers.map(userKeyOf).sort())

  /** Stores a server's active speakers. Announces the room's active speakers only if they differ from before. */
  function correctSpeakers (roomId: string, node: string, speaking: Speaking): void {
    const before = keyOf(merged(roomId))
    known.get(roomId)?.speaking.set(node, speaking)
    const after = merged(roomId)
    if (keyOf(after) !== before) hooks.emit('media:speakers', roomId, after)
  }

  function sendSpeakers (roomId: string, message: SpeakingMessage): void {
    app.rooms.sendToNodes(roomId, speakersTopic, message)
  }

  /**
   * Exchanges a room's active speakers with the other servers, because changes were lost while the servers could not
   * reach each other. Another server may be reachable again earlier or later than this server. Therefore, this server
   * both sends its own active speakers and requests those of the other servers.
   */
  function exchangeSpeakers (roomId: string, room: RelayedRoom): void {
    const media = rooms.get(roomId)
    if (media) sendSpeakers(roomId, { node: nodeId, ...media.speaking(), isRepeated: true })
    for (const { node, paused } of room.voices.values()) if (!paused) room.outdated.add(node)
    updateSpeakers(roomId, room)
  }

  /** The servers that have not replied to the last request for active speakers. */
  const silent = new Set<string>()

  /** Requests a room's active speakers from the outdated servers. A failed request is repeated after `checkMs`. */
  function updateSpeakers (roomId: string, { outdated, voices }: RelayedRoom): void {
    const audible = new Set(voices.values().filter(({ paused }) => !paused).map(({ node }) => node))
    for (const node of outdated) {
      outdated.delete(node)
      if (!audible.has(node)) {
        silent.delete(node)
        continue
      }
      app.cluster.ask(node, 'relay:speakers', { roomId }, requestMs).then((speaking) => {
        if (silent.delete(node)) log.info({ node }, 'received active speakers from another server again')
        correctSpeakers(roomId, node, speaking)
      }, (err: unknown) => {
        outdated.add(node)
        if (!silent.has(node)) log.warn({ err, node, roomId }, 'failed to receive active speakers from another server, will retry')
        silent.add(node)
      })
    }
  }

  /**
   * Removes active speakers whose voice was closed or paused, because their server may have died before it sent the
   * change. Keeps a speaker whose voice is not in the registry yet.
   */
  function forgetSpeakers (roomId: string, room: RelayedRoom, before: ReadonlyMap<string, RegisteredVoice>): void {
    let hasChanged = false
    for (const [node, { activeSpeakers, levels }] of room.speaking) {
      const audible = (voices: ReadonlyMap<string, RegisteredVoice>) => new Set(voices.values().filter((voice) => voice.node === node && !voice.paused).map(({ userKey }) => userKey))
      const silenced = audible(before).difference(audible(room.voices))
      const kept = activeSpeakers.map((userId, i) => ({ userId, level: levels[i] ?? 0 })).filter(({ userId }) => !silenced.has(userKeyOf(userId)))
      if (kept.length === activeSpeakers.length) continue
      hasChanged = true
      room.speaking.set(node, { activeSpeakers: kept.map(({ userId }) => userId), levels: kept.map(({ level }) => level) })
    }
    if (hasChanged) hooks.emit('media:speakers', roomId, merged(roomId))
  }

  // Handlers.

  state.onChange((room, next) => registered(room.roomId, next))
  // These required handlers do nothing: `registered` already announces changes, and checks the registry after the store
  // loses data.
  state.onMissed(() => [])
  state.onWake(async () => {})
  // The join reply contains the voices in the registry, so only later changes are announced.
  hooks.on('room:join', ({ roomId }) => {
    roomOf(roomId)
    return {}
  })
  hooks.on('room:nodeMessage', (roomId, topic, data) => {
    if (topic !== speakersTopic) return
    const { node, isRepeated, ...speaking } = data as SpeakingMessage
    const room = known.get(roomId)
    if (!room) return
    if (isRepeated) return correctSpeakers(roomId, node, speaking)
    room.speaking.set(node, speaking)
    hooks.emit('media:speakers', roomId, merged(roomId))
  })
  hooks.on('room:released', (roomId) => {
    const room = known.get(roomId)
    known.delete(roomId)
    for (const check of room?.waiting ?? []) check()
    for (const sink of room?.sinks.values() ?? []) sink.close()
    count()
  })
  hooks.on('room:nodeRemoved', removeVoices)
  bus.onHealed(() => {
    for (const [roomId, room] of known) {
      forgetRetry(roomId)
      changed(roomId)
      for (const sink of room.sinks.values()) sink.retry()
      exchangeSpeakers(roomId, room)
    }
  })
  const stops = [
    app.cluster.answer('relay:holds', ({ to, pipes }) => pipes.map(({ roomId, epoch }) => known.get(roomId)?.sinks.get(to)?.epoch === epoch)),
    app.cluster.answer('relay:speakers', ({ roomId }) => rooms.get(roomId)?.speaking() ?? { activeSpeakers: [], levels: [] })
  ]
  const timer = setInterval(() => {
    for (const [roomId, room] of known) {
      updateSpeakers(roomId, room)
      for (const sink of room.sinks.values()) sink.check().catch(() => { /* The source is unreachable. If the source is dead, its voices are removed when its lease expires. */ })
    }
    count()
  }, checkMs).unref()

  return {
    voicesOf (roomId) {
      const room = known.get(roomId)
      return room ? [...room.voices].map(([producerId, voice]) => infoOf(room, producerId, voice)) : []
    },
    async read (roomIds) {
      const lists = await state.readMany(roomIds)
      return lists.map((list) => Object.entries(list?.voices ?? {}).map(([producerId, { userId, source, paused }]) => ({ producerId, userId, source, isPaused: paused })))
    },
    speakersOf: (roomId) => merged(roomId).activeSpeakers,
    learnSpeakers,
    async fetch (roomId, producerId) {
      const room = known.get(roomId)
      const isHere = () => rooms.get(roomId)?.producers.has(producerId) === true
      if (!room?.voices.has(producerId) || isHere()) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const check = () => { if (isHere() || known.get(roomId)?.voices.has(producerId) !== true) resolve() }
      room.waiting.add(check)
      try {
        await withTimeout(promise, fetchMs, () => { throw unavailable('The audio from the other server did not arrive in time') })
      } finally {
        room.waiting.delete(check)
      }
    },
    changed,
    mediaChanged (roomId) {
      pull(roomId)
      changed(roomId)
    },
    speaking (roomId, { activeSpeakers, levels }) {
      sendSpeakers(roomId, { node: nodeId, activeSpeakers, levels })
      hooks.emit('media:speakers', roomId, merged(roomId))
    },
    counts: () => ({ sources: sources.size, sinks: [...known.values()].reduce((sum, { sinks }) => sum + [...sinks.values()].filter(({ epoch }) => epoch !== undefined).length, 0) }),
    async close () {
      closed = true
      clearInterval(timer)
      for (const stop of stops) stop()
      for (const { sinks } of known.values()) for (const sink of sinks.values()) sink.close()
      sources.close()
      await Promise.all([...writing.values()].map(({ done }) => done))
    }
  }
}
