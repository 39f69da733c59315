import type { Metrics } from '../../metrics.ts'
import type { MixStats } from './stats.ts'

export interface MixMetrics {
  /** @param stats the thread's report; undefined if the thread has ended */
  report (thread: object, stats: MixStats | undefined): void
  died (): void
}

/**
 * Buckets for the lateness of ticks, in seconds. A tick that is over 20 ms late delays the mix, but causes no audible
 * gap.
 */
const latenessBuckets = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]

export function createMixMetrics (metrics: Metrics): MixMetrics {
  const rooms = metrics.gauge('flylive_mix_rooms', 'Rooms with a mix')
  const voices = metrics.gauge('flylive_mix_voices', 'Voices and music tracks in all mixes')
  const late = metrics.counter('flylive_mix_late_packets_total', 'Voice packets that were discarded because they arrived too late for the mix')
  const concealed = metrics.counter('flylive_mix_concealed_packets_total', 'Voice packets that did not arrive in time for the mix. The mixer either restored them from the next packet (restored) or replaced them with generated audio (concealed)', ['result'])
  const invalid = metrics.counter('flylive_mix_invalid_packets_total', 'Voice packets that are not valid Opus')
  const lateness = metrics.histogram('flylive_mix_tick_lateness_seconds', 'How late the mixer thread processes each 20 ms of audio', [], latenessBuckets)
  const cpu = metrics.counter('flylive_mix_cpu_seconds_total', 'CPU time of the mixer threads')
  const deaths = metrics.counter('flylive_mix_thread_deaths_total', 'Mixer threads that ended and were replaced')
  for (const result of ['restored', 'concealed']) concealed.inc({ result }, 0)
  const latest = new Map<object, MixStats>()

  return {
    report (thread, stats) {
      if (stats) latest.set(thread, stats)
      else latest.delete(thread)
      const all = [...latest.values()]
      rooms.set(all.reduce((sum, { rooms }) => sum + rooms, 0))
      voices.set(all.reduce((sum, { voices }) => sum + voices, 0))
      if (!stats) return
      late.inc(stats.late)
      concealed.inc({ result: 'restored' }, stats.recovered)
      concealed.inc({ result: 'concealed' }, stats.concealed)
      invalid.inc(stats.invalid)
      cpu.inc(stats.cpuSeconds)
      for (const seconds of stats.lateness) lateness.observe(seconds)
    },
    died: () => deaths.inc()
  }
}
