import { writeSync } from 'node:fs'
import { Session, url as inspectorUrl } from 'node:inspector'
import type { Debugger } from 'node:inspector'
import { parentPort, workerData } from 'node:worker_threads'
import type { FeatureCode } from './running-code.ts'
import type { Block } from './supervisor.ts'
import type { WatchdogData } from './watchdog-messages.ts'

// This file runs in the thread that watchdog.ts starts.

const { heartbeat, blockMs } = workerData as WatchdogData
const lookMs = 100
/**
 * Number of consecutive checks that must find the main thread blocked before the stack trace is read. A single check is
 * not enough, because the machine may have been suspended.
 */
const minLooks = 3
/**
 * If the main thread is blocked for this many milliseconds, this thread logs the block, because the main thread may
 * never run again.
 */
const endlessMs = 5000
/**
 * If the main thread is blocked while no feature's code is running, the machine is probably overloaded. The watchdog
 * then reads no stack trace for this many milliseconds, because reading a stack trace stops the main thread for 0.1 to
 * 0.5 s.
 */
const restMs = 10_000

interface Watched extends Omit<Block, 'ms'> {
  isLogged: boolean
}

let watched: Watched | undefined
let lastBeat = 0
let looks = 0
/** No stack trace is read before this time, in epoch milliseconds. */
let restsUntil = 0

setInterval(() => {
  const now = Date.now()
  const ranAt = Number(Atomics.load(heartbeat, 0))
  looks = ranAt === lastBeat ? looks + 1 : 0
  lastBeat = ranAt
  if (watched && ranAt > watched.since) {
    const { since, code, stack } = watched
    if (stack !== '') parentPort?.postMessage({ since, ms: ranAt - since, code, stack } satisfies Block)
    watched = undefined
  } else if (!watched && looks >= minLooks && now - ranAt > blockMs && now > restsUntil && inspectorUrl() === undefined) {
    watched = { since: ranAt, stack: '', isLogged: false }
    lookUp(watched)
  } else if (watched && !watched.isLogged && watched.stack !== '' && now - ranAt > endlessMs) {
    watched.isLogged = true
    const { code, stack } = watched
    writeSync(1, `${JSON.stringify({ level: 50, time: now, pid: process.pid, ...code, ms: now - ranAt, stack, msg: 'the event loop is still blocked' })}\n`)
  }
}, lookMs)

/** Reads the stack trace and the running feature of the main thread, then lets the main thread continue. */
function lookUp (block: Watched): void {
  const session = new Session()
  const files = new Map<string, string>()
  session.connectToMainThread()
  session.on('Debugger.scriptParsed', ({ params }) => { files.set(params.scriptId, params.url) })
  session.once('Debugger.paused', ({ params: { callFrames } }) => {
    const top = callFrames[0] as Debugger.CallFrame
    const expression = "globalThis[Symbol.for('flylive-audio-server.running-code')]?.()"
    session.post('Debugger.evaluateOnCallFrame', { callFrameId: top.callFrameId, expression, returnByValue: true, silent: true }, (_error, found) => {
      block.code = (found as Debugger.EvaluateOnCallFrameReturnType | undefined)?.result.value as FeatureCode | undefined
      if (!block.code) restsUntil = Date.now() + restMs
      // If the main thread started other work before the debugger paused it, discard the stack trace, which belongs to
      // the other work.
      const isOver = Number(Atomics.load(heartbeat, 0)) > block.since
      if (!isOver) {
        block.stack = callFrames.map(({ functionName, location: { scriptId, lineNumber } }) =>
          `    at ${functionName} (${files.get(scriptId) ?? scriptId}:${lineNumber + 1})`).join('\n')
      }
      session.post('Debugger.resume')
      session.post('Debugger.disable', () => session.disconnect())
    })
  })
  session.post('Debugger.enable')
  session.post('Debugger.pause')
}
