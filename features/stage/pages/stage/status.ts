import { strings } from '../strings.ts'
import { audioFailureOf, troubleOf } from './refusals.ts'
import type { RoomView } from './room-view.ts'

/** The connection state as text and colour. */
export interface Status {
  tone: 'good' | 'busy' | 'bad'
  text: string
}

export function statusOf ({ trouble, state, audio, audioFailure, microphone, sending, ownSeat, reception }: RoomView): Status {
  const words = strings.status
  if (trouble) return { tone: 'bad', text: words.waiting(troubleOf(trouble)) }
  if (state === 'rejoining') return { tone: 'bad', text: words.back }
  if (state !== 'in') return { tone: 'busy', text: words.connecting }
  if (audio === 'off') return { tone: 'bad', text: words.noAudio }
  if (audio === 'connecting' && audioFailure) return { tone: 'bad', text: words.audioFailed(audioFailureOf(audioFailure)) }
  if (audio === 'connecting' || (sending && microphone === 'waiting')) return { tone: 'busy', text: words.connectingAudio }
  if (!sending) return { tone: 'good', text: reception === 'mix' ? words.listeningToMix : words.listening }
  if (microphone === 'interrupted') return { tone: 'busy', text: words.interrupted }
  return ownSeat?.isMuted === true ? { tone: 'busy', text: words.mutedByHost } : { tone: 'good', text: words.connected }
}
