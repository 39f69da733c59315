import type { Participant, RoomClient } from '../../../client/index.ts'
import { doingOf, faceOf, initialsOf, label, nameOf } from './names.ts'

/** What can be done to somebody else. */
export interface Deeds {
  mute (person: Participant): void
  unmute (person: Participant): void
  remove (person: Participant): void
  invite (person: Participant): void
  give (person: Participant): void
}

export interface Rights {
  /** Whether one is the owner or an admin of a room with seats. */
  host: boolean
  gifts: boolean
}

interface Tile {
  item: HTMLLIElement
  doing: HTMLElement
  show (person: Participant, rights: Rights, invited: boolean): void
}

function part (className: string, text: string): HTMLElement {
  const element = document.createElement('span')
  element.className = className
  element.textContent = text
  return element
}

function createTile (participant: Participant, deeds: Deeds): Tile {
  let person = participant
  const name = nameOf(person)
  const item = document.createElement('li')
  const face = part(`face ${faceOf(person.userId)}`, initialsOf(name))
  face.ariaHidden = 'true'
  const title = part('name', person.isSelf ? `${name} (you)` : name)
  title.title = name
  const doing = part('doing', '')
  const buttons = part('deeds', '')
  const button = (deed: () => void) => {
    const element = document.createElement('button')
    element.addEventListener('click', deed)
    buttons.append(element)
    return element
  }
  const muting = button(() => person.seat?.isMuted === true ? deeds.unmute(person) : deeds.mute(person))
  const removing = button(() => deeds.remove(person))
  const inviting = button(() => deeds.invite(person))
  const giving = button(() => deeds.give(person))
  label(removing, 'Remove', `Remove ${name} from the seat`)
  label(giving, 'Gift', `Gift for ${name}`)
  item.append(face, title)
  if (!person.isSelf) item.append(buttons)
  item.append(doing)
  return {
    item,
    doing,
    show (now, { host, gifts }, invited) {
      person = now
      const { seat } = person
      muting.hidden = removing.hidden = !host || !seat
      inviting.hidden = !host || seat !== undefined
      inviting.disabled = invited
      giving.hidden = !gifts
      const verb = seat?.isMuted === true ? 'Unmute' : 'Mute'
      label(muting, verb, `${verb} ${name}`)
      label(inviting, invited ? 'Invited' : 'Invite', invited ? `Invited: ${name}` : `Invite ${name} to a seat`)
      buttons.hidden = !host && !gifts
    }
  }
}

/**
 * Keeps a list of tiles, one for each participant. Tiles stay the same
 * elements, so that nothing jumps under a pointer or a screen reader.
 */
export function createPeople (list: HTMLElement, deeds: Deeds): (room: RoomClient, rights: Rights) => void {
  const tiles = new Map<string, Tile>()

  return ({ participants, seats }, rights) => {
    const there = new Set(participants.map(({ userId }) => String(userId)))
    for (const [key, { item }] of tiles) {
      if (there.has(key)) continue
      item.remove()
      tiles.delete(key)
    }
    const invited = new Set(seats.list.map(({ invitedUserId }) => String(invitedUserId)))
    for (const participant of participants) {
      const key = String(participant.userId)
      const tile = tiles.get(key) ?? createTile(participant, deeds)
      if (!tiles.has(key)) list.append(tile.item)
      tiles.set(key, tile)
      tile.show(participant, rights, invited.has(key))
      const doing = doingOf(participant)
      if (tile.item.dataset.doing === doing) continue
      tile.item.dataset.doing = doing
      tile.doing.textContent = doing
    }
  }
}
