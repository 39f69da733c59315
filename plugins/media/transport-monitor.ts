import type { types } from 'mediasoup'
import type { FastifyBaseLogger } from 'fastify'
import type { Metrics } from '../metrics.ts'

/**
 * - `new`: the client has not started to connect
 * - `connecting`: ICE or DTLS is in progress
 * - `connected`: audio can flow
 * - `disconnected`: the client was connected and stopped answering ICE checks
 * - `failed`: ICE or DTLS did not complete in time, or DTLS failed
 */
const states = ['new', 'connecting', 'connected', 'disconnected', 'failed'] as const
type State = typeof states[number]

/** Details of a transport, for warnings in the log. */
export interface TransportDescription {
  roomId: string
  userId: unknown
  direction: string
  /** The candidates that the client received. */
  candidates: readonly types.IceCandidate[]
}

/** A transport that is monitored until it is closed. */
export interface MonitoredTransport {
  /** Called when the client starts to connect, or restarts ICE. */
  connecting (): void
}

/** How long ICE and DTLS may each take before the transport counts as failed, in milliseconds. */
const timeoutMs = 10_000
/**
 * Minimum interval between warnings with the same message, in milliseconds. The interval keeps the log short, because a
 * wrong announced address affects every client.
 */
const warningIntervalMs = 10_000

const unreachable = 'received no packets from a client at the announced addresses; check MEDIASOUP_ANNOUNCED_IP, the firewall (UDP and TCP), NAT, and TURN_SECRET'
const notEncrypted = 'the encrypted connection (DTLS) to a client failed'

/** Counts transports by state, and logs transports that fail to connect. */
export function createTransportMonitor (metrics: Metrics, log: FastifyBaseLogger): (transport: types.WebRtcTransport, about: TransportDescription) => MonitoredTransport {
  const gauge = metrics.gauge('flylive_transports', 'WebRTC transports of clients, by connection state', ['state'])
  const iceFailures = metrics.counter('flylive_ice_failures_total', 'Transports that did not connect within 10 s (phase setup) or lost their connection (phase connected)', ['phase'])
  const dtlsFailures = metrics.counter('flylive_dtls_failures_total', 'Transports whose DTLS handshake failed')
  for (const state of states) gauge.set({ state }, 0)
  for (const phase of ['setup', 'connected']) iceFailures.inc({ phase }, 0)
  const warnings = new Map<string, { at: number, suppressed: number }>()

  function warn (transport: types.WebRtcTransport, { roomId, userId, direction, candidates }: TransportDescription, message: string): void {
    const now = performance.now()
    const last = warnings.get(message)
    if (last && now - last.at < warningIntervalMs) {
      last.suppressed++
      return
    }
    warnings.set(message, { at: now, suppressed: 0 })
    log.warn({
      roomId,
      userId,
      transportId: transport.id,
      direction,
      announced: [...new Set(candidates.map(({ address }) => address))],
      port: candidates[0]?.port,
      ...(last && last.suppressed > 0 ? { suppressed: last.suppressed } : {})
    }, message)
  }

  return (transport, about) => {
    let state: State | undefined
    let started = false
    let hasFailed = false
    let hadIce = false
    let timer: NodeJS.Timeout | undefined

    const hasIce = () => transport.iceState === 'connected' || transport.iceState === 'completed'
    const currentState = (): State => {
      if (hasFailed || transport.dtlsState === 'failed') return 'failed'
      if (transport.iceState === 'disconnected') return 'disconnected'
      if (hasIce() && transport.dtlsState === 'connected') return 'connected'
      return started || hasIce() ? 'connecting' : 'new'
    }
    const setState = (next: State | undefined) => {
      if (next === state) return
      if (state !== undefined) gauge.dec({ state })
      if (next !== undefined) gauge.inc({ state: next })
      state = next
    }
    const startTimer = () => {
      clearTimeout(timer)
      timer = setTimeout(timeout, timeoutMs).unref()
    }

    function timeout (): void {
      hasFailed = true
      setState('failed')
      if (hasIce()) return dtlsFailed()
      iceFailures.inc({ phase: 'setup' })
      warn(transport, about, unreachable)
    }
    function dtlsFailed (): void {
      dtlsFailures.inc()
      warn(transport, about, notEncrypted)
    }
    function update (): void {
      const next = currentState()
      if (next === 'connected') clearTimeout(timer)
      setState(next)
    }

    transport.observer.on('icestatechange', (iceState) => {
      if (iceState === 'disconnected') iceFailures.inc({ phase: 'connected' })
      if (hasIce() && !hadIce) {
        hasFailed = false
        // DTLS starts only when ICE is connected, so start a separate timeout for DTLS.
        if (transport.dtlsState !== 'connected') startTimer()
      }
      hadIce = hasIce()
      update()
    })
    transport.observer.on('dtlsstatechange', (dtlsState) => {
      clearTimeout(timer)
      if (dtlsState === 'failed' && !hasFailed) {
        hasFailed = true
        dtlsFailed()
      }
      if (dtlsState === 'connected') hasFailed = false
      // mediasoup retries a failed handshake. During the retry, the transport still counts as failed.
      if (dtlsState === 'connecting' && !hasFailed) startTimer()
      update()
    })
    transport.observer.once('close', () => {
      clearTimeout(timer)
      setState(undefined)
    })
    update()

    return {
      connecting () {
        started = true
        if (transport.closed || currentState() === 'connected') return
        hasFailed = false
        startTimer()
        update()
      }
    }
  }
}
