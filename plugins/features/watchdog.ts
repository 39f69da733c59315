import { Worker } from 'node:worker_threads'
import { beat, heartbeat } from './heartbeat.ts'
import { blockMs } from './supervisor.ts'
import type { Block } from './supervisor.ts'
import { runningCode } from './running-code.ts'
import { codeSymbol } from './watchdog-messages.ts'
import type { WatchdogData } from './watchdog-messages.ts'

const beatMs = 100

/**
 * Watches this process's event loop from another thread. When code has blocked the event loop for {@link blockMs}, the
 * thread briefly pauses the main thread, as a debugger does, to read the stack trace. If the event loop stays blocked,
 * the thread itself logs the stack trace.
 *
 * @param report called once the event loop runs again, with the details of the block
 */
export function startWatchdog (report: (block: Block) => void): void {
  beat()
  setInterval(beat, beatMs).unref()
  // The watchdog thread calls this function in the main thread while the main thread is paused.
  Object.defineProperty(globalThis, codeSymbol, { value: runningCode })
  const worker = new Worker(new URL('./watchdog-worker.ts', import.meta.url), { execArgv: [], workerData: { heartbeat, blockMs } satisfies WatchdogData })
  worker.unref()
  worker.on('message', report)
  // If the watchdog thread fails, the supervisor still detects a call whose synchronous part blocks the event loop.
  worker.on('error', () => {})
}
