import { onScopeDispose } from 'vue'
import type { ObjectDirective } from 'vue'
import { loudness } from './microphone.ts'

/** Pictures a second: a ring that moves more often is not seen to. */
const fps = 20

/**
 * Moves rings with real levels. Each picture sets one property of each ring;
 * nothing of the page is rendered anew.
 *
 * @param read gives levels from 0 to 1 by user, asked for each picture
 * @param options.essential whether it moves also for who wants no motion: where the movement is what is to be seen
 * @returns a directive, `v-level="key of a user"`, that keeps `--level`, from 0 to 1, on its element
 */
export function useLevels (read: () => ReadonlyMap<string, number>, { essential = false } = {}): ObjectDirective<HTMLElement, string | undefined> {
  const rings = new Map<HTMLElement, { key: string | undefined, shown: number }>()
  const still = matchMedia('(prefers-reduced-motion: reduce)')
  const show = () => {
    if (document.hidden || (still.matches && !essential) || rings.size === 0) return
    const levels = read()
    for (const [element, ring] of rings) {
      const level = loudness(ring.key === undefined ? 0 : levels.get(ring.key) ?? 0)
      // It rises at once and falls slowly, as the ear takes it.
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
