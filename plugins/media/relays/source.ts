import type { types } from 'mediasoup'
import type { FastifyInstance } from 'fastify'
import { unavailable } from '../../errors/codes.ts'
import type { MediaRooms } from '../room-media.ts'
import type { PipedVoice, PipeEnd, PipeId } from './messages.ts'

/** A pipe through which this server sends one room's voices to another server. */
interface SourcePipe {
  id: PipeId
  transport: types.PipeTransport
  sent: Map<string, Promise<PipedVoice | undefined>>
}

export interface Sources {
  /** Number of open pipes. */
  readonly size: number
  close (): void
}

export interface SourcesOptions {
  rooms: MediaRooms
  /** @returns the address and port range on which a pipe listens */
  listenInfo (): types.TransportListenInfo
  /** @returns this server's end of a pipe */
  endOf (transport: types.PipeTransport): PipeEnd
  requestMs: number
  /** Interval at which the source asks the sinks whether they still use their pipes, in milliseconds. */
  checkMs: number
}

const keyOf = ({ roomId, from }: PipeId) => `${from} ${roomId}`

/** Sends the audio of this server's producers to the servers that request it. */
export function createSources ({ cluster, leases, log, nodeId, timings: { leaseMs } }: Pick<FastifyInstance, 'cluster' | 'leases' | 'log' | 'nodeId' | 'timings'>, { rooms, listenInfo, endOf, requestMs, checkMs }: SourcesOptions): Sources {
  const pipes = new Map<string, SourcePipe>()
  /**
   * By sink and room: the epoch of the newest pipe that the sink has requested, and whether the sink has dropped that
   * pipe.
   */
  const newest = new Map<string, { epoch: number, isDropped: boolean }>()
  const isObsolete = (key: string, epoch: number) => {
    const known = newest.get(key)
    return known !== undefined && (epoch < known.epoch || (epoch === known.epoch && known.isDropped))
  }

  function closePipe (pipe: SourcePipe): void {
    pipe.transport.close()
    const key = keyOf(pipe.id)
    if (pipes.get(key) === pipe) pipes.delete(key)
  }

  /**
   * @returns the RTP parameters that the sink needs to receive each voice. Voices that are not on this server are
   *   omitted
   */
  async function send (pipe: SourcePipe, producerIds: readonly string[]): Promise<PipedVoice[]> {
    const own = rooms.get(pipe.id.roomId)?.producers
    const voices = await Promise.all(producerIds.map((producerId) => {
      const producer = own?.get(producerId)
      if (!producer || producer.owner.kind === 'relay') return undefined
      const known = pipe.sent.get(producerId)
      if (known) return known
      const sending = consume(pipe, producerId)
      pipe.sent.set(producerId, sending)
      return sending
    }))
    return voices.filter((voice) => voice !== undefined)
  }

  async function consume ({ transport, sent }: SourcePipe, producerId: string): Promise<PipedVoice | undefined> {
    try {
      const consumer = await transport.consume({ producerId })
      consumer.observer.once('close', () => sent.delete(producerId))
      return { producerId, rtpParameters: consumer.rtpParameters }
    } catch (err) {
      // The producer was closed during the request.
      sent.delete(producerId)
      log.debug({ err, producerId }, 'failed to send a voice to another server')
      return undefined
    }
  }

  const stops = [
    cluster.answer('relay:want', async ({ ip, port, srtpParameters, voices, ...id }) => {
      const key = keyOf(id)
      if (isObsolete(key, id.epoch)) throw unavailable('A newer pipe has been requested')
      newest.set(key, { epoch: id.epoch, isDropped: false })
      const older = pipes.get(key)
      if (older) closePipe(older)
      const media = rooms.get(id.roomId)
      if (!media) throw unavailable(`Room ${id.roomId} has no audio on this server`)
      const { router } = await media.main()
      const transport = await router.createPipeTransport({ listenInfo: listenInfo(), enableSctp: false, enableRtx: true, enableSrtp: true })
      // During the request to the worker, the sink may have dropped this pipe or requested a newer pipe.
      if (isObsolete(key, id.epoch)) {
        transport.close()
        throw unavailable('The pipe is no longer needed')
      }
      const pipe: SourcePipe = { id, transport, sent: new Map() }
      pipes.set(key, pipe)
      transport.observer.once('close', () => closePipe(pipe))
      try {
        await transport.connect({ ip, port, ...(srtpParameters ? { srtpParameters } : {}) })
        return { ...endOf(transport), voices: await send(pipe, voices) }
      } catch (error) {
        closePipe(pipe)
        throw error
      }
    }),
    cluster.answer('relay:more', async ({ voices, ...id }) => {
      const pipe = pipes.get(keyOf(id))
      if (pipe?.id.epoch !== id.epoch) return null
      return { voices: await send(pipe, voices) }
    }),
    cluster.answer('relay:drop', (id) => {
      const key = keyOf(id)
      if (id.epoch >= (newest.get(key)?.epoch ?? 0)) newest.set(key, { epoch: id.epoch, isDropped: true })
      const pipe = pipes.get(key)
      if (pipe && pipe.id.epoch <= id.epoch) closePipe(pipe)
      return null
    }),
    cluster.answer('relay:counts', async ({ roomId, voices }) => {
      const own = rooms.get(roomId)?.producers
      const counts = await Promise.all(voices.map(async (producerId) => [producerId, await own?.get(producerId)?.receivedPackets()] as const))
      return Object.fromEntries(counts.filter((entry): entry is [string, number] => entry[1] !== undefined))
    })
  ]

  /**
   * Closes pipes whose sink is dead or no longer uses them. Closes no pipe while the store is unavailable. After the
   * store has lost its data, closes no pipe until all servers have had time to renew their leases.
   */
  async function check (): Promise<void> {
    const bySink = Map.groupBy(pipes.values(), ({ id }) => id.from)
    const sinks = [...bySink.keys()]
    if (sinks.length > 0 && await leases.msSinceLoss() > leaseMs) {
      const alive = await leases.areAlive(sinks)
      await Promise.all(sinks.map(async (sink, i) => {
        const ofSink = bySink.get(sink) ?? []
        const held = alive[i] === true
          ? await cluster.ask(sink, 'relay:holds', { to: nodeId, pipes: ofSink.map(({ id: { roomId, epoch } }) => ({ roomId, epoch })) }, requestMs).catch(() => undefined)
          : []
        if (held) for (const [j, pipe] of ofSink.entries()) if (held[j] !== true) closePipe(pipe)
      }))
    }
    // Limit the number of entries. The entries of a server that has restarted are never replaced, because the server
    // has a new id.
    for (const key of newest.keys()) if (!pipes.has(key) && newest.size > 10_000) newest.delete(key)
  }
  const timer = setInterval(() => { check().catch(() => { /* The store is unavailable. The timer checks again. */ }) }, checkMs).unref()

  return {
    get size () {
      return pipes.size
    },
    close () {
      clearInterval(timer)
      for (const stop of stops) stop()
      for (const pipe of [...pipes.values()]) closePipe(pipe)
    }
  }
}
