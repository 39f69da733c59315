import { ref } from 'vue'
import { call, createApi } from './api.ts'

// Secrets are kept in the tab's session storage only.
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

/** The admin key; empty until the server accepts one. */
export const key = storedKey.value
/** The metrics token; empty if none is required. */
export const metricsToken = storedToken.value
export const setMetricsToken = storedToken.set

/** Whether the server rejected a key that it accepted before. */
export const keyRefused = ref(false)

export const api = createApi(() => key.value, () => {
  storedKey.set('')
  keyRefused.value = true
})

/** @throws {ApiError} if the server rejects the key */
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

/** @returns whether a text can be sent in a header */
export const canBeSent = (secret: string) => /^[\x21-\x7e]+$/.test(secret)
