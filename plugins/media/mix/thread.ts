import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { FromMixer, ToMixer } from './messages.ts'
import { frameMs, MixerRoom } from './mixer-room.ts'
import { highResolutionMs, noCounts } from './stats.ts'

// This file runs in a mixer thread, which threads.ts starts. Every 20 ms, one tick mixes all rooms of the thread.

/** Maximum number of missed ticks that a delayed thread catches up on. Older ticks are skipped. */
const maxCatchUp = 25
/** Maximum number of ticks that run before the thread reads packets again. */
const maxTicks = 2
const reportMs = 1000

/** Difference between the clock of `process.hrtime`, which all threads share, and this thread's `performance.now`. */
const toHighResolution = highResolutionMs() - performance.now()
const module = workerData as WebAssembly.Module
const parent = parentPort as MessagePort
const rooms = new Map<number, MixerRoom>()
/** Totals of all rooms since the last report. */
const counts = noCounts()
let lateness: number[] = []
let cpuMicroseconds = 0

const send = (message: FromMixer) => parent.postMessage(message)
const stackOf = (error: unknown) => error instanceof Error ? error.stack ?? error.message : String(error)

async function open (roomId: number, room: MixerRoom): Promise<void> {
  try {
    rooms.set(roomId, room)
    send({ type: 'opened', roomId, port: await room.open() })
  } catch (error) {
    rooms.delete(roomId)
    room.close()
    send({ type: 'failed', roomId, message: stackOf(error) })
  }
}

parent.on('message', (message: ToMixer) => {
  const { roomId } = message
  if (message.type === 'open') return open(roomId, new MixerRoom(module, message.options, counts))
  const room = rooms.get(roomId)
  switch (message.type) {
    case 'voices': return room?.setVoices(message.voices)
    case 'output': return room?.setOutput(message.port)
    case 'stream': return room ? room.stream(message.port, message.streams) : message.port.close()
    case 'close':
      rooms.delete(roomId)
      room?.close()
  }
})

function tick (now: number, due: number): void {
  for (const [roomId, room] of rooms) {
    try {
      room.tick(now, due + toHighResolution)
    } catch (error) {
      // An error in one room must not affect other rooms. Restart the room, because its decoders may be in an invalid
      // state.
      send({ type: 'fault', roomId, stack: stackOf(error) })
      room.restart()
    }
  }
  // Send the packets of all rooms together, so that each media worker wakes up only once.
  for (const room of rooms.values()) room.send()
}

/**
 * Runs up to {@link maxTicks} due ticks, then lets the thread read packets. Without this limit, an overloaded thread
 * would read no packets and mix only silence.
 */
function run (): void {
  let now = performance.now()
  if (now - due > maxCatchUp * frameMs) due = now - maxCatchUp * frameMs
  for (let ticks = 0; due <= now && ticks < maxTicks; ticks++) {
    lateness.push(Math.max(0, now - due) / 1000)
    tick(now, due)
    due += frameMs
    now = performance.now()
  }
  schedule(now)
}

/**
 * Schedules the next ticks. `setImmediate` lets the thread read received packets first, so that the packets are in time
 * for the tick.
 */
function schedule (now: number): void {
  if (due <= now) setImmediate(run)
  else setTimeout(() => setImmediate(run), due - now)
}

function report (): void {
  const { user, system } = process.threadCpuUsage()
  let voices = 0
  for (const room of rooms.values()) voices += room.voices
  send({ type: 'stats', stats: { ...counts, rooms: rooms.size, voices, lateness, cpuSeconds: (user + system - cpuMicroseconds) / 1e6 } })
  cpuMicroseconds = user + system
  Object.assign(counts, noCounts())
  lateness = []
}

let due = performance.now() + frameMs
schedule(performance.now())
setInterval(report, reportMs)
