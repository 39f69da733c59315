import { strings } from '../strings.ts'
import { troubleOf } from './refusals.ts'
import type { RoomView } from './room-view.ts'

/** The connection state as text and colour. */
export interface Status {
  tone: 'good' | 'busy' | 'bad'
  text: string
}

export function statusOf ({ trouble, state, audio, sending, ownSeat }: RoomView): Status {
  const words = strings.status
  if (trouble) return { tone: 'bad', text: words.waiting(troubleOf(trouble)) }
  if (state === 'rejoining') return { tone: 'bad', text: words.back }
  if (state !== 'in') return { tone: 'busy', text: words.connecting }
  if (audio === 'connecting') return { tone: 'busy', text: words.connectingAudio }
  if (audio === 'off') return { tone: 'bad', text: words.noAudio }
  if (!sending) return { tone: 'good', text: words.listening }
  return ownSeat?.isMuted === true ? { tone: 'busy', text: words.mutedByHost } : { tone: 'good', text: words.connected }
}
