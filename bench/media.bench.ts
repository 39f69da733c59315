import type { ChildProcess } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { RequestData, RequestType } from '../client/protocol.ts'
import { joinListener, joinSpeaker } from './load/participant.ts'
import type { Listener, Participant } from './load/participant.ts'
import { percentilesOf } from './load/statistics.ts'
import { createPacer, speech } from './load/speech.ts'
import type { Pacer } from './load/speech.ts'
import { startRedis, startServer, stopAll, tokenOf } from './support.ts'

// Measures a media worker's CPU time per listener, in a room with ten speakers. The server, Redis and the participants
// share the machine. Some CPU time does not depend on the listeners, because the worker also receives the speakers'
// streams and the mix. The benchmark measures this CPU time while all consumers are paused, and subtracts it.
//
// - Voices and mix: the listeners repeatedly switch between ten voices, the mix and nothing, so that other load on the
//   machine affects the three phases equally.
// - Many listeners of the mix: the benchmark measures CPU time, packet loss and set-up times.

const speakers = 10
const switching = { listeners: 20, rounds: 5, phaseMs: 3000, settleMs: 300 }
const crowd = { listeners: 150, rounds: 3, phaseMs: 6000, settleMs: 500, perSecond: 25 }
const targets = { ratio: 0.35, listenerMsPerSecond: 0.83, loss: 0.001, setUpP95Ms: 100, setUpRoundTrips: 2 }
const adminKey = 'an-admin-key-for-benchmarks-that-is-long-enough'

/** What every listener receives during a phase of the measurement. */
type Phase = 'nothing' | 'voices' | 'mix'

export default async function media (): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-bench-'))
  const processes: ChildProcess[] = []
  const pacer = createPacer()
  try {
    const redisUrl = `redis://127.0.0.1:${await startRedis(folder, processes)}/3`
    const url = await startServer(processes, { redisUrl, folder, env: { MEDIASOUP_WORKERS: '1', MEDIASOUP_LISTEN_IP: '127.0.0.1', ADMIN_API_KEY: adminKey } })
    await compareMixAndVoices(url, pacer)
    await measureCrowd(url, pacer)
  } finally {
    pacer.close()
    await stopAll(processes)
    rmSync(folder, { recursive: true, force: true })
  }
}

async function compareMixAndVoices (url: string, pacer: Pacer): Promise<void> {
  const { listeners: count, ...pace } = switching
  const participants = await joinSpeakers(url, 'switching', pacer)
  const listeners: Listener[] = []
  for (let i = 0; i < count; i++) listeners.push(await joinListener({ url, token: tokenOf(`switching-${i}`), roomId: 'switching', receives: ['voices', 'mix'] }))
  const cpu = await measurePhases(url, listeners, ['nothing', 'voices', 'mix'], pace)
  closeAll([...listeners, ...participants])
  const [voices, mix] = [perListener(cpu, 'voices', count), perListener(cpu, 'mix', count)]
  console.log(`  worker CPU per listener and second, ${speakers} speakers, ${count} listeners: voices ${voices.toFixed(2)} ms, mix ${mix.toFixed(2)} ms`)
  judge('mix ÷ voices', mix / voices, targets.ratio)
}

async function measureCrowd (url: string, pacer: Pacer): Promise<void> {
  const { listeners: count, perSecond, ...pace } = crowd
  const participants = await joinSpeakers(url, 'crowd', pacer)
  const listeners: Listener[] = []
  const begin = performance.now()
  for (let i = 0; i < count; i++) {
    await delay(Math.max(0, begin + i * 1000 / perSecond - performance.now()))
    listeners.push(await joinListener({ url, token: tokenOf(`crowd-${i}`), roomId: 'crowd', receives: ['mix'] }))
  }
  const cpu = await measurePhases(url, listeners, ['nothing', 'mix'], pace)
  const counts = listeners.flatMap(({ streams }) => [...streams.values()].map((stream) => stream.counts))
  const [expected, received, late] = (['expected', 'received', 'late'] as const).map((key) => counts.reduce((sum, count) => sum + count[key], 0)) as [number, number, number]
  closeAll([...listeners, ...participants])
  console.log(`  worker CPU with ${count} listeners of the mix: ${cpu.mix.toFixed(0)} ms/s, of which ${cpu.nothing.toFixed(0)} without listeners`)
  console.log(`  ${received} packets received, ${expected - received} lost, ${late} late`)
  judge('worker ms per listener and second', perListener(cpu, 'mix', count), targets.listenerMsPerSecond)
  judge('loss', (expected - received) / expected, targets.loss)
  const setUp = percentilesOf(listeners.map(({ setUpMs }) => setUpMs))
  judge('set-up of a listener, p95 ms', setUp?.p95 ?? NaN, targets.setUpP95Ms)
  judge('set-up of a listener, round trips', Math.max(...listeners.map(({ setUpRoundTrips }) => setUpRoundTrips)), targets.setUpRoundTrips)
}

async function joinSpeakers (url: string, roomId: string, pacer: Pacer): Promise<Participant[]> {
  const participants: Participant[] = []
  for (let seatIndex = 0; seatIndex < speakers; seatIndex++) {
    participants.push(await joinSpeaker({ url, token: tokenOf(`${roomId}-speaker-${seatIndex}`), roomId, seatIndex, speech: speech(seatIndex), pacer }))
  }
  return participants
}

interface Pace {
  rounds: number
  phaseMs: number
  /** How long to wait after the listeners switch before the measurement starts. */
  settleMs: number
}

/** @returns for each phase, the worker's CPU time per second, in milliseconds, averaged over all rounds */
async function measurePhases<P extends Phase> (url: string, listeners: readonly Listener[], phases: readonly P[], { rounds, phaseMs, settleMs }: Pace): Promise<Record<P, number>> {
  const worker = await workerOf(url)
  const used = Object.fromEntries(phases.map((phase) => [phase, { cpuMs: 0, ms: 0 }])) as Record<P, { cpuMs: number, ms: number }>
  for (let round = 0; round < rounds; round++) {
    for (const phase of phases) {
      await switchTo(phase, listeners)
      await delay(settleMs)
      const [cpuMs, begin] = [cpuMsOf(worker), performance.now()]
      await delay(phaseMs)
      used[phase].cpuMs += cpuMsOf(worker) - cpuMs
      used[phase].ms += performance.now() - begin
    }
  }
  return Object.fromEntries(phases.map((phase) => [phase, used[phase].cpuMs / used[phase].ms * 1000])) as Record<P, number>
}

async function switchTo (phase: Phase, listeners: readonly Listener[]): Promise<void> {
  await Promise.all(listeners.flatMap(({ signalling, consumerIds }) => (['voices', 'mix'] as const).flatMap((kind) => {
    const type = (kind === phase ? 'consumer:resume' : 'consumer:pause') satisfies RequestType
    return consumerIds[kind].map((consumerId) => signalling.request(type, { consumerId } as RequestData<typeof type>))
  })))
}

async function workerOf (url: string): Promise<number> {
  const response = await fetch(url.replace(/^ws(.*)\/ws$/, 'http$1/health'), { headers: { authorization: `Bearer ${adminKey}` } })
  const { workers } = await response.json() as { workers: { pid: number }[] }
  return workers[0]?.pid as number
}

/** @returns the CPU time that all threads of a process have used so far, in milliseconds. Linux only */
function cpuMsOf (pid: number): number {
  return globSync(`/proc/${pid}/task/*/schedstat`).reduce((sum, file) => sum + Number(readFileSync(file, 'utf8').split(' ')[0]), 0) / 1e6
}

function perListener (cpu: Record<'nothing', number> & Partial<Record<Phase, number>>, phase: Phase, listeners: number): number {
  return ((cpu[phase] ?? NaN) - cpu.nothing) / listeners
}

function closeAll (participants: readonly Participant[]): void {
  for (const participant of participants) participant.close()
}

function judge (what: string, value: number, target: number): void {
  console.log(`  ${what}: ${value.toPrecision(3)} (target: at most ${target}${value <= target ? '' : '; MISSED'})`)
}
