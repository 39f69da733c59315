import { reactive, ref } from 'vue'
import { strings } from '../strings.ts'

/** Something that is to be seen for a moment over the stage. */
export interface Show {
  id: number
  picture: string
  text: string
  /** Where it begins, from 0 to 1 of the width. */
  place: number
}

/** How long a reaction and a gift are seen, in milliseconds; ShowsOverlay.vue has the same. */
const reactionMs = 2600
const giftMs = 3600
/** In a big room hundreds come at once: more than this at a time is confetti nobody reads. */
const mostReactions = 24
const mostGifts = 3

/** Reactions are read aloud together, this long after the first of them, in milliseconds. */
const saidMs = 2000

/** Reactions that rise and gifts that are unpacked. */
export type Shows = ReturnType<typeof createShows>

export function createShows () {
  const reactions: Show[] = reactive([])
  const gifts: Show[] = reactive([])
  /** What a screen reader says of reactions. */
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
    /** @param name of who sent it, where that is known */
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
