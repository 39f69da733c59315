/** The sections of the admin page, in the order in which the navigation lists them. */
export const sections = ['rooms', 'features', 'gifts', 'charts'] as const

/** What the admin page shows: a section or a single room. */
export interface Place {
  section: typeof sections[number]
  roomId?: string
}

/** @returns the view for a URL fragment; the rooms section if the fragment is empty or unknown */
export function placeOf (hash: string): Place {
  const [name, id] = hash.replace(/^#/, '').split('/', 2)
  const section = sections.find((section) => section === name) ?? 'rooms'
  const roomId = section === 'rooms' && id !== undefined ? decoded(id) : ''
  return roomId === '' ? { section } : { section, roomId }
}

/** @returns the URL fragment that opens a view */
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
