import type { RequestError } from '@flylive/audio-client'
import { strings } from '../strings.ts'

/** @returns what a user is told when the server refuses something; without a full stop */
export function wordsOf ({ code, message }: RequestError): string {
  return strings.refusals[code] ?? message
}

/** @returns what a user is told of a connection that is not there; without a full stop */
export function troubleOf (error: RequestError): string {
  return strings.trouble[error.code] ?? wordsOf(error)
}
