import { Session } from 'node:inspector/promises'
import type { Worker } from 'node:worker_threads'
import type { Test } from 'tap'

interface Attached {
  sessionId: string
  /**
   * The `workerId` field is unique only within the inspector session. The thread's id is in the title: `[worker 3]
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
