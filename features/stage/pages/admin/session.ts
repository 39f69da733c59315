import { ref } from 'vue'
import { call, createApi } from './api.ts'

// The key is stored only in the tab's session storage.
const item = 'flylive:admin-key'

/** The admin key; empty until the server accepts one. */
export const key = ref(sessionStorage.getItem(item) ?? '')

function setKey (value: string): void {
  key.value = value
  if (value === '') sessionStorage.removeItem(item)
  else sessionStorage.setItem(item, value)
}

/** True if the server no longer accepts the key that the admin entered. */
export const keyRefused = ref(false)

export const api = createApi(() => key.value, () => {
  setKey('')
  keyRefused.value = true
})

/** @throws {ApiError} if the server rejects the key */
export async function enter (given: string): Promise<void> {
  await call('admin/features', { key: given })
  keyRefused.value = false
  setKey(given)
}

export function forget (): void {
  keyRefused.value = false
  setKey('')
}

/** @returns whether the key can be sent in an HTTP header */
export const canBeSent = (secret: string) => /^[\x21-\x7e]+$/.test(secret)
