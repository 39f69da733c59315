import { ref } from 'vue'
import { call, createApi } from './api.ts'

// Secrets live in this tab alone: its session storage ends with it.
const stored = (name: string) => {
  const value = ref(sessionStorage.getItem(name) ?? '')
  return {
    value,
    set (secret: string) {
      value.value = secret
      if (secret === '') sessionStorage.removeItem(name)
      else sessionStorage.setItem(name, secret)
    }
  }
}

const storedKey = stored('flylive:admin-key')
const storedToken = stored('flylive:metrics-token')

/** The admin key; empty until the server has accepted one. */
export const key = storedKey.value
/** What /metrics asks for; empty where it asks for nothing. */
export const metricsToken = storedToken.value
export const setMetricsToken = storedToken.set

/** Whether the key was there and the server has stopped accepting it. */
export const keyRefused = ref(false)

export const api = createApi(() => key.value, () => {
  storedKey.set('')
  keyRefused.value = true
})

/** @throws {ApiError} what the server has against the key */
export async function enter (given: string): Promise<void> {
  await call('/admin/features', { key: given })
  keyRefused.value = false
  storedKey.set(given)
}

export function forget (): void {
  keyRefused.value = false
  storedKey.set('')
  storedToken.set('')
}

/** @returns whether a text can be sent as a key at all: no header carries others */
export const canBeSent = (secret: string) => /^[\x21-\x7e]+$/.test(secret)
