import { onScopeDispose } from 'vue'
import type { ObjectDirective } from 'vue'
import { loudness } from './microphone.ts'

/** Updates per second; faster movement is not visible. */
const fps = 20

/**
 * Animates the rings around speaking users with their audio levels. Each update sets one CSS property per ring and
 * renders no component.
 *
 * @param read returns each user's level, 0 to 1, by user key; called on every update
 * @param options.essential whether to animate even if the user prefers reduced motion; level meters need this
 * @returns a Vue directive: `v-level="user key"` sets the CSS property `--level` of its element to the user's loudness,
 *   0 to 1
 */
export function useLevels (read: () => ReadonlyMap<string, number>, { essential = false } = {}): ObjectDirective<HTMLElement, string | undefined> {
  const rings = new Map<HTMLElement, { key: string | undefined, shown: number }>()
  const still = matchMedia('(prefers-reduced-motion: reduce)')
  const show = () => {
    if (document.hidden || (still.matches && !essential) || rings.size === 0) return
    const levels = read()
    for (const [element, ring] of rings) {
      const level = loudness(ring.key === undefined ? 0 : levels.get(ring.key) ?? 0)
      // Fast attack, slow decay, like a VU meter.
      const next = Math.max(level, ring.shown * 0.8)
      const rounded = Math.floor(next * 50) / 50
      if (rounded !== ring.shown) element.style.setProperty('--level', String(rounded))
      ring.shown = rounded
    }
  }
  const timer = setInterval(show, 1000 / fps)
  onScopeDispose(() => clearInterval(timer))
  return {
    mounted: (element, { value }) => { rings.set(element, { key: value, shown: 0 }) },
    updated (element, { value }) {
      const ring = rings.get(element)
      if (ring) ring.key = value
    },
    unmounted: (element) => { rings.delete(element) }
  }
}
