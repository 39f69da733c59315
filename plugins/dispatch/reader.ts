import type { ParsedMessage } from '../connections/face.ts'
import type { FrameReader } from '../connections/sockets.ts'
import type { Session } from '../connections/session.ts'
import type { Execution, Respond } from './execution.ts'

/**
 * Reads the frames of connections by their faces, runs the requests in them,
 * and writes their replies.
 */
export function createReader (execution: Execution): FrameReader {
  return (session, data, isBinary) => {
    const receivedAt = performance.now()
    const message = parse(session, data, isBinary)
    if (!message) return
    const { id, type } = message
    const respond: Respond = (outcome) => {
      if (id !== undefined) session.reply(id, outcome.ok ? outcome : { ok: false, error: outcome.error })
      else if (!outcome.ok) session.send('error', type === undefined ? outcome.error : { ...outcome.error, type })
    }
    if (message.error) execution.refuse({ session, id, type, receivedAt }, message.error, respond)
    else execution.start({ session, id, type: message.type, data: message.data, receivedAt }, respond)
  }
}

function parse ({ face }: Session, data: Buffer, isBinary: boolean): ParsedMessage | undefined {
  try {
    return face.parse(data, isBinary)
  } catch (error) {
    return { error: error as Error }
  }
}
