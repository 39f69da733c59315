import type { RoomClient, Seat } from '../../../client/index.ts'
import { doingOf, faceOf, initialsOf, label, nameOf } from './names.ts'

/** What can be done with a seat. */
export interface SeatDeeds {
  take (seatIndex: number): void
  getUp (): void
  lock (seatIndex: number): void
  unlock (seatIndex: number): void
}

interface Cell {
  place: HTMLElement
  chair: HTMLButtonElement
  lock: HTMLButtonElement
}

/** People count seats from one. */
export const numberOf = (seatIndex: number): number => seatIndex + 1

/** Keeps a row of seats: each a button, and for the owner and admins another one that locks it. */
export function createSeating (row: HTMLElement, deeds: SeatDeeds): (room: RoomClient, host: boolean) => void {
  const cells: Cell[] = []
  let shown: readonly Seat[] = []
  let isOwn: (seat: Seat) => boolean = () => false

  function createCell (seatIndex: number): Cell {
    const place = document.createElement('div')
    const chair = document.createElement('button')
    const lock = document.createElement('button')
    lock.className = 'lock'
    chair.addEventListener('click', () => {
      const seat = shown[seatIndex]
      if (seat && isOwn(seat)) deeds.getUp()
      else deeds.take(seatIndex)
    })
    lock.addEventListener('click', () => shown[seatIndex]?.isLocked === true ? deeds.unlock(seatIndex) : deeds.lock(seatIndex))
    place.append(chair, lock)
    return { place, chair, lock }
  }

  return ({ participants, seats }, host) => {
    shown = seats.list
    isOwn = ({ userId }) => userId !== undefined && seats.isSelf(userId)
    while (cells.length > shown.length) cells.pop()?.place.remove()
    for (const seat of shown) {
      const { seatIndex, userId, isLocked } = seat
      const cell = cells[seatIndex] ?? createCell(seatIndex)
      if (!cell.place.isConnected) row.append(cell.place)
      cells[seatIndex] = cell
      const { chair, lock } = cell
      const number = numberOf(seatIndex)
      const sitter = participants.find((person) => person.seat?.seatIndex === seatIndex)
      chair.dataset.doing = sitter ? doingOf(sitter) : ''
      if (userId === undefined) {
        chair.className = isLocked ? 'locked' : seat.invitedUserId === undefined ? 'free' : 'free invited'
        chair.disabled = isLocked
        label(chair, isLocked ? '' : String(number), isLocked ? `Seat ${number} is locked` : `Take seat ${number}`)
      } else {
        // Who has lost the connection has the seat for a while, but is not in the room.
        const name = sitter ? nameOf(sitter) : 'somebody who is coming back'
        const own = isOwn(seat)
        chair.className = `taken ${faceOf(userId)}`
        chair.disabled = !own
        label(chair, sitter ? initialsOf(name) : '…', own ? `Get up from seat ${number}` : `Seat ${number}: ${name}`)
      }
      chair.title = chair.ariaLabel ?? ''
      lock.hidden = !host || isOwn(seat)
      label(lock, isLocked ? 'Unlock' : 'Lock', `${isLocked ? 'Unlock' : 'Lock'} seat ${number}`)
    }
  }
}
