import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { FromMixer, ToMixer } from './messages.ts'
import { frameMs, MixerRoom } from './mixer-room.ts'
import { highResolutionMs, noCounts } from './stats.ts'

// A mixer thread: mixes rooms, with one tick per 20 ms for all of them. threads.ts starts it.

/** Ticks that the thread catches up after it was delayed; more are left out. */
const maxCatchUp = 25
/** Ticks that run without reading packets in between. */
const maxTicks = 2
const reportMs = 1000

/** All threads share the clock of `process.hrtime`, but each has its own `performance.now`. */
const toHighResolution = highResolutionMs() - performance.now()
const module = workerData as WebAssembly.Module
const parent = parentPort as MessagePort
const rooms = new Map<number, MixerRoom>()
/** Counts of all rooms since the last report. */
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
      // One room must not silence the others. Its decoders may be in an invalid state.
      send({ type: 'fault', roomId, stack: stackOf(error) })
      room.restart()
    }
  }
  // The packets of all rooms are sent together: the first wakes the media worker, so the others need not.
  for (const room of rooms.values()) room.send()
}

/** Runs the ticks that are due, but reads received packets after some of them, because otherwise an overloaded thread would only mix silence. */
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

/** Received packets are read before the tick, so that they are not late if the thread was delayed. */
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
