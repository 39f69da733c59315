import { Session } from 'node:inspector/promises'
import type { Worker } from 'node:worker_threads'
import type { Test } from 'tap'

interface Attached {
  sessionId: string
  /**
   * The `workerId` field is a number within the inspector session. Only the title contains the thread's id: `[worker 3]
   * mixer`.
   */
  workerInfo: { title: string }
}

/**
 * Runs code in a thread as a debugger does, to cause faults that no message can cause.
 *
 * @param expression runs in the thread's global scope. The result is not awaited
 */
export async function evaluateIn (t: Test, { threadId }: Worker, expression: string): Promise<void> {
  const session = new Session()
  session.connect()
  t.teardown(() => session.disconnect())
  const attached = new Promise<string>((resolve) => {
    session.on('NodeWorker.attachedToWorker', ({ params }: { params: Attached }) => {
      if (params.workerInfo.title.startsWith(`[worker ${threadId}]`)) resolve(params.sessionId)
    })
  })
  await session.post('NodeWorker.enable', { waitForDebuggerOnStart: false })
  const sessionId = await attached
  await session.post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } }) })
}
