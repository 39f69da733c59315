import type { MediaFailure, RequestError } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import type { Entry } from './stage.ts'

/** Why the server rejected a join or removed the user, together with the user's input in the join form. */
export interface Refusal {
  why: RequestError
  entry: Entry
}

/** @returns a server error as text for users, without a full stop */
export function wordsOf ({ code, message }: RequestError): string {
  return strings.refusals[code] ?? message
}

/** @returns a connection error as text for users, without a full stop */
export function troubleOf (error: RequestError): string {
  return strings.trouble[error.code] ?? wordsOf(error)
}

/** @returns the media server addresses that the page tried, such as `203.0.113.7:40000/udp` */
export function addressesIn ({ details }: RequestError): readonly string[] {
  return (details as MediaFailure).addresses
}

/** @returns the reason for missing audio as text for users, without a full stop */
export function audioFailureOf ({ details }: RequestError): string {
  return strings.audioFailures[(details as MediaFailure).reason]
}
