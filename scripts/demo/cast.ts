// The simulated users of the demo.

/** espeak-ng settings for scripts/demo/speech.ts. */
export interface Voicing {
  voice: string
  wordsPerMinute: number
  /** Pitch, 0 to 99. */
  pitch: number
}

export interface Person {
  /** Key of the talker in the script. */
  key: string
  userId: number
  name: string
  voicing: Voicing
  /** Whether the talker has a seat at the start or is a listener. */
  begins: 'seated' | 'listening'
  /** The talker's default reactions. */
  likes: readonly string[]
}

const person = (key: string, userId: number, name: string, begins: Person['begins'], likes: readonly string[], [voice, wordsPerMinute, pitch]: [string, number, number]): Person =>
  ({ key, userId, name, begins, likes, voicing: { voice, wordsPerMinute, pitch } })

/** The talkers, in the order in which they join. The first talker owns the room. */
export const fireside = [
  person('maya', 101, 'Maya', 'seated', ['❤️', '👏'], ['en-us+f3', 168, 55]),
  person('ben', 102, 'Ben', 'seated', ['👍', '🤔'], ['en-gb+m3', 165, 40]),
  person('emma', 103, 'Emma', 'listening', ['👏', '😮'], ['en-gb-scotland+f4', 176, 52]),
  person('diego', 104, 'Diego', 'seated', ['🔥', '👍'], ['en-029+m7', 170, 45]),
  person('chloe', 105, 'Chloé', 'seated', ['❤️', '🎉'], ['en-us+f2', 178, 62]),
  person('felix', 106, 'Felix', 'listening', ['😂', '🔥'], ['en-gb-x-rp+m1', 178, 50])
] as const satisfies readonly Person[]

export const nightOwls = [
  person('nora', 107, 'Nora', 'seated', ['❤️'], ['en-gb+f5', 150, 45]),
  person('otto', 108, 'Otto', 'seated', ['👍'], ['en-us+m2', 145, 30])
] as const satisfies readonly Person[]

export const coffeeCorner = [
  person('iris', 109, 'Iris', 'listening', ['👍'], ['en-gb+f1', 160, 50])
] as const satisfies readonly Person[]

export const everybody: readonly Person[] = [...fireside, ...nightOwls, ...coffeeCorner]

export type Key = (typeof fireside | typeof nightOwls | typeof coffeeCorner)[number]['key']
/** Minimum number of talkers for a conversation. */
export const fewestTalkers = 3
