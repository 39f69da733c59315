/** The parts of the page, in the order of its navigation. */
export const sections = ['rooms', 'features', 'gifts', 'charts'] as const

/** What the page shows: a section, or one room. */
export interface Place {
  section: typeof sections[number]
  roomId?: string
}

/** @returns the place that the fragment of an address names; the rooms when it names none */
export function placeOf (hash: string): Place {
  const [name, id] = hash.replace(/^#/, '').split('/', 2)
  const section = sections.find((section) => section === name) ?? 'rooms'
  const roomId = section === 'rooms' && id !== undefined ? decoded(id) : ''
  return roomId === '' ? { section } : { section, roomId }
}

/** @returns the fragment of an address that leads to a place */
export function hashOf ({ section, roomId }: Place): string {
  return roomId === undefined ? `#${section}` : `#${section}/${encodeURIComponent(roomId)}`
}

function decoded (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
