import type { Session } from '../connections/session.ts'
import type { Execution, Respond } from './execution.ts'
import { parseFrame } from './parse.ts'

/**
 * Reads the frames of connections, runs the requests in them, and writes their replies.
 *
 * @returns takes one text frame of a session
 */
export function createReader (execution: Execution): (session: Session, text: string) => void {
  return (session, text) => {
    const receivedAt = performance.now()
    const { id, type, ...message } = parseFrame(text)
    const respond: Respond = (outcome) => {
      if (id !== undefined) session.reply(id, outcome.ok ? outcome : { ok: false, error: outcome.error })
      else if (!outcome.ok) session.send('error', type === undefined ? outcome.error : { ...outcome.error, type })
    }
    if (message.error) execution.refuse({ session, id, type, receivedAt }, message.error, respond)
    else execution.start({ session, id, type: type as string, data: message.data, receivedAt }, respond)
  }
}
