import { reactive, ref } from 'vue'
import { strings } from '../strings.ts'

/** A short animation in front of the page. */
export interface Show {
  id: number
  picture: string
  text: string
  /** Horizontal start position, from 0 (left) to 1 (right). */
  place: number
}

/** Durations of the reaction and gift animations, in milliseconds. ShowsOverlay.vue must use the same values. */
const reactionMs = 2600
const giftMs = 3600
/** Maximum number of concurrent animations. */
const mostReactions = 24
const mostGifts = 3

/** How long reactions are collected before screen readers announce them together, in milliseconds. */
const saidMs = 2000

/** Animated reactions and gifts. */
export type Shows = ReturnType<typeof createShows>

export function createShows () {
  const reactions: Show[] = reactive([])
  const gifts: Show[] = reactive([])
  /** What screen readers announce about the collected reactions. */
  const said = ref('')
  const unsaid = new Map<string, number>()
  let lastId = 0

  function add (shows: Show[], picture: string, text: string, ms: number): void {
    const id = ++lastId
    shows.push({ id, picture, text, place: ((id * 0.618) % 1) })
    setTimeout(() => {
      const index = shows.findIndex((show) => show.id === id)
      if (index >= 0) shows.splice(index, 1)
    }, ms)
  }

  function count (emoji: string, times: number): void {
    if (unsaid.size === 0) {
      setTimeout(() => {
        said.value = strings.reactions.came([...unsaid])
        unsaid.clear()
      }, saidMs)
    }
    unsaid.set(emoji, (unsaid.get(emoji) ?? 0) + times)
  }

  return {
    reactions,
    gifts,
    said,
    /** @param name the sender's name, if known */
    react (emoji: string, times: number, name = ''): void {
      count(emoji, times)
      for (let i = 0; i < Math.min(times, mostReactions / 4) && reactions.length < mostReactions; i++) add(reactions, emoji, name, reactionMs)
    },
    give (picture: string, text: string): void {
      if (gifts.length >= mostGifts) gifts.shift()
      add(gifts, picture, text, giftMs)
    }
  }
}
