import type { Participant } from '../../../client/index.ts'

interface Tile {
  item: HTMLLIElement
  doing: HTMLElement
}

/** Colours, in turn. */
const faces = 6

function part (className: string, text: string): HTMLElement {
  const element = document.createElement('span')
  element.className = className
  element.textContent = text
  return element
}

function nameOf ({ profile, userId }: Participant): string {
  return typeof profile.name === 'string' ? profile.name : `User ${userId}`
}

function initialsOf (name: string): string {
  return name.split(/\s+/).filter(Boolean).slice(0, 2).map((word) => [...word][0]?.toUpperCase() ?? '').join('')
}

function doingOf ({ isSpeaking, microphone }: Participant): string {
  if (microphone === 'none') return 'listening'
  if (microphone === 'muted') return 'muted'
  return isSpeaking ? 'speaking' : 'silent'
}

/**
 * Keeps a list of tiles, one for each participant. Tiles stay the same
 * elements, so that nothing jumps under a pointer or a screen reader.
 */
export function createPeople (list: HTMLElement): (participants: readonly Participant[]) => void {
  const tiles = new Map<string, Tile>()
  let made = 0

  function createTile (participant: Participant): Tile {
    const name = nameOf(participant)
    const item = document.createElement('li')
    const face = part(`face face-${made++ % faces}`, initialsOf(name))
    face.ariaHidden = 'true'
    const label = part('name', participant.isSelf ? `${name} (you)` : name)
    label.title = name
    const doing = part('doing', '')
    item.append(face, label, doing)
    list.append(item)
    return { item, doing }
  }

  return (participants) => {
    const there = new Set(participants.map(({ userId }) => String(userId)))
    for (const [key, { item }] of tiles) {
      if (there.has(key)) continue
      item.remove()
      tiles.delete(key)
    }
    for (const participant of participants) {
      const key = String(participant.userId)
      const tile = tiles.get(key) ?? createTile(participant)
      tiles.set(key, tile)
      const doing = doingOf(participant)
      if (tile.item.dataset.doing === doing) continue
      tile.item.dataset.doing = doing
      tile.doing.textContent = doing
    }
  }
}
