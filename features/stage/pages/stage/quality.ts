import { onScopeDispose, shallowRef } from 'vue'
import type { ShallowRef } from 'vue'
import type { AudioQuality } from '@flylive/audio-client'
import type { Stage } from './stage.ts'

/** Interval between measurements, in milliseconds. */
const everyMs = 2000

/** @returns the quality, measured every {@link everyMs}; undefined without audio or before the first measurement */
export function useQuality ({ room }: Stage): ShallowRef<AudioQuality | undefined> {
  const quality = shallowRef<AudioQuality>()
  const timer = setInterval(async () => {
    if (document.hidden) return
    quality.value = await room.audio?.quality().catch(() => undefined)
  }, everyMs)
  onScopeDispose(() => clearInterval(timer))
  return quality
}
