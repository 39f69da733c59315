import { userKeyOf } from '../../../plugins/connections/session.ts'
import { viewFrom } from './view.ts'
import type { View } from './view.ts'

// A second implementation of the contract's seat rules, written independently of the
// server's implementation. The test compares their results.

export type Role = 'owner' | 'admin' | 'member'

export interface Request {
  type: string
  data: { roomId?: string, seatIndex?: unknown, userId?: unknown }
}

export interface Outcome {
  /** `ok`, or the error code. */
  code: string
  data?: { seatIndex?: number, userId?: unknown }
}

interface Rule {
  who: readonly Role[]
  /** The error codes that a permitted sender may receive, without the codes that every request may return. */
  refusals: readonly string[]
  seatIndex?: 'needed' | 'optional'
  userId?: 'needed' | 'optional'
}

const everybody: readonly Role[] = ['owner', 'admin', 'member']
const admins: readonly Role[] = ['owner', 'admin']

export const rules: Readonly<Record<string, Rule>> = {
  'seat:take': { who: everybody, refusals: ['SEAT_INVALID', 'SEAT_LOCKED', 'SEAT_TAKEN'], seatIndex: 'needed' },
  'seat:leave': { who: everybody, refusals: ['NOT_SEATED'] },
  'seat:assign': { who: ['owner'], refusals: ['NOT_IN_ROOM', 'SEAT_INVALID', 'SEAT_LOCKED'], seatIndex: 'needed', userId: 'needed' },
  'seat:remove': { who: admins, refusals: ['CANNOT_TARGET_SELF', 'FORBIDDEN', 'NOT_SEATED'], userId: 'needed' },
  'seat:lock': { who: admins, refusals: ['SEAT_INVALID', 'SEAT_ALREADY_LOCKED', 'FORBIDDEN'], seatIndex: 'needed' },
  'seat:unlock': { who: admins, refusals: ['SEAT_INVALID', 'SEAT_NOT_LOCKED'], seatIndex: 'needed' },
  'seat:mute': { who: admins, refusals: ['CANNOT_TARGET_SELF', 'NOT_SEATED'], userId: 'needed' },
  'seat:unmute': { who: admins, refusals: ['CANNOT_TARGET_SELF', 'NOT_SEATED'], userId: 'needed' },
  'seat:invite': { who: admins, refusals: ['NOT_IN_ROOM', 'CANNOT_TARGET_SELF', 'SEAT_INVALID', 'SEAT_TAKEN', 'INVITE_PENDING'], seatIndex: 'needed', userId: 'needed' },
  'seat:invite:accept': { who: everybody, refusals: ['INVITE_NOT_FOUND'], seatIndex: 'optional' },
  'seat:invite:decline': { who: everybody, refusals: ['INVITE_NOT_FOUND'], seatIndex: 'optional' },
  // There are too few users to reach the limit of seat requests.
  'seat:request': { who: everybody, refusals: ['ALREADY_SEATED'] },
  'seat:request:cancel': { who: everybody, refusals: ['FORBIDDEN', 'SEAT_REQUEST_NOT_FOUND'], userId: 'optional' }
}

export const ruleOf = (type: string): Rule => rules[type] as Rule
export const mayAsk = (role: Role, type: string): boolean => ruleOf(type).who.includes(role)
/** An owner is allowed to undo a mute by an admin. */
const mayFreeSelf = (role: Role, type: string) => role === 'owner' && type === 'seat:unmute'
export const targetOf = ({ data: { userId } }: Request): string => typeof userId === 'number' || typeof userId === 'string' ? userKeyOf(userId) : ''

const isIndex = (value: unknown) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
const isUser = (value: unknown) => typeof value === 'number' || (typeof value === 'string' && value.length > 0 && value.length <= 128)

function isValid ({ type, data: { seatIndex, userId } }: Request): boolean {
  const rule = ruleOf(type)
  if (rule.seatIndex !== undefined && !isIndex(seatIndex) && !(rule.seatIndex === 'optional' && seatIndex === undefined)) return false
  return rule.userId === undefined || isUser(userId) || (rule.userId === 'optional' && userId === undefined)
}

/** Returns the error code if a request must be rejected regardless of the room's state; otherwise an empty string. */
function refusedAnyway (request: Request, roomId: string | undefined): string {
  if (!isValid(request)) return 'VALIDATION_FAILED'
  return roomId === undefined || (request.data.roomId ?? roomId) !== roomId ? 'NOT_IN_ROOM' : ''
}

/** Facts about the sender, the room and the target user. */
export interface Circumstances {
  by: string
  role: Role
  /** The sender's room; undefined if the sender is not in a room. */
  roomId: string | undefined
  ownerKey: string
  /** Whether the target user was in the room during the whole request. */
  targetThere: boolean
}

/**
 * Checks the outcome of a request that was sent concurrently with other requests. The state before the request is
 * therefore unknown.
 *
 * @returns how the outcome contradicts the rules; an empty string if it does not
 */
export function objection (request: Request, { code, data }: Outcome, { by, role, roomId, ownerKey, targetThere }: Circumstances): string {
  const { type, data: { seatIndex } } = request
  const { refusals } = ruleOf(type)
  const anyway = refusedAnyway(request, roomId)
  if (anyway !== '') return code === anyway ? '' : `must be ${anyway}`
  const may = mayAsk(role, type)
  const target = targetOf(request)
  const ofOwner = type === 'seat:remove' && target === ownerKey && role !== 'owner'
  const ofOther = type === 'seat:request:cancel' && target !== '' && target !== by && role === 'member'
  const self = target === by && refusals.includes('CANNOT_TARGET_SELF')
  // An owner is allowed to undo only a mute by an admin. Accept both outcomes, because it is unknown here whether an
  // admin has muted the owner.
  const must = self && !mayFreeSelf(role, type)
  if (code === 'ok') {
    if (!may || ofOwner || ofOther) return `a ${role} may not`
    if (must) return 'a command on oneself must be rejected'
    if (ruleOf(type).seatIndex !== undefined && data?.seatIndex !== (seatIndex ?? data?.seatIndex)) return 'the reply names another seat'
    if (ruleOf(type).seatIndex === undefined && ruleOf(type).userId === 'needed' && String(data?.userId) !== target) return 'the reply names another user'
    return ''
  }
  if (code === 'NOT_IN_ROOM') return refusals.includes(code) && !targetThere ? '' : 'the target user was in the room'
  if (!may) return code === 'FORBIDDEN' ? '' : `must be FORBIDDEN to a ${role}`
  if (!refusals.includes(code)) return 'the contract does not list the code'
  if (ofOther) return code === 'FORBIDDEN' ? '' : 'the code must be FORBIDDEN for a member'
  if (code === 'FORBIDDEN') return ofOwner || (type === 'seat:lock' && role === 'admin') ? '' : `a ${role} may`
  if (code === 'CANNOT_TARGET_SELF') return self ? '' : 'the target is another user'
  return must ? 'a command on oneself must be rejected' : ''
}

/** The expected state of a room when requests are sent one after another. */
export interface Table {
  roomId: string
  ownerKey: string
  seatCount: number
  /** Occupants by seat index. */
  holders: Map<number, string>
  locked: Set<number>
  muted: Set<string>
  /** Oldest first. */
  invites: { seatIndex: number, user: string }[]
  /** Users with a pending request, in the order of their requests. */
  requests: string[]
  members: Set<string>
}

export const newTable = (roomId: string, ownerKey: string, seatCount: number): Table =>
  ({ roomId, ownerKey, seatCount, holders: new Map(), locked: new Set(), muted: new Set(), invites: [], requests: [], members: new Set() })

/** Returns the users whose seat requests the given user is allowed to see. */
export const requestsFor = (requests: readonly string[], user: string, role: Role): readonly string[] =>
  role === 'member' ? requests.filter((other) => other === user) : requests

function lower (table: Table, user: string): boolean {
  const asked = table.requests.includes(user)
  table.requests = table.requests.filter((other) => other !== user)
  return asked
}

const seatHeld = ({ holders }: Table, user: string): number | undefined => [...holders].find(([, holder]) => holder === user)?.[0]

function sit (table: Table, user: string, seatIndex: number): void {
  const older = seatHeld(table, user)
  if (older !== undefined) table.holders.delete(older)
  table.holders.set(seatIndex, user)
  lower(table, user)
  table.invites = table.invites.filter((invite) => invite.seatIndex !== seatIndex)
}

export function depart (table: Table, user: string): void {
  table.members.delete(user)
  lower(table, user)
  const seat = seatHeld(table, user)
  if (seat !== undefined) table.holders.delete(seat)
  table.invites = table.invites.filter((invite) => invite.user !== user)
}

export function resize (table: Table, seatCount: number): void {
  const fits = (seatIndex: number) => seatIndex < seatCount
  table.seatCount = seatCount
  table.holders = new Map([...table.holders].filter(([seatIndex]) => fits(seatIndex)))
  table.locked = new Set([...table.locked].filter(fits))
  table.invites = table.invites.filter(({ seatIndex }) => fits(seatIndex))
}

/** Returns the view of a client that has received every event. */
export const tableView = ({ seatCount, holders, locked, muted, invites, requests }: Table): View => viewFrom({
  seatCount,
  seats: [...holders].map(([seatIndex, userId]) => ({ seatIndex, userId, isMuted: muted.has(userId) })),
  lockedSeats: [...locked],
  invites: invites.map(({ seatIndex, user }) => ({ seatIndex, userId: user })),
  requests: requests.map((userId) => ({ userId }))
})

/**
 * Executes or rejects a request. Requests must be sent one after another.
 *
 * @param table the state of the sender's room; undefined if the sender is in no room
 */
export function judge (table: Table | undefined, by: string, role: Role, request: Request): Outcome {
  const code = refusedAnyway(request, table?.roomId)
  if (code !== '' || !table) return { code }
  const { type } = request
  const { holders, locked, muted, seatCount } = table
  const index = request.data.seatIndex as number
  const target = targetOf(request)
  if (ruleOf(type).refusals.includes('NOT_IN_ROOM') && !table.members.has(target)) return { code: 'NOT_IN_ROOM' }
  if (!mayAsk(role, type)) return { code: 'FORBIDDEN' }
  if (ruleOf(type).refusals.includes('CANNOT_TARGET_SELF') && target === by && !(mayFreeSelf(role, type) && muted.has(by))) return { code: 'CANNOT_TARGET_SELF' }
  if (ruleOf(type).refusals.includes('SEAT_INVALID') && index >= seatCount) return { code: 'SEAT_INVALID' }
  const onSeat = { code: 'ok', data: { seatIndex: index } }
  const onUser = { code: 'ok', data: { userId: target } }

  switch (type) {
    case 'seat:take':
      if (holders.get(index) === by) return onSeat
      if (locked.has(index)) return { code: 'SEAT_LOCKED' }
      if (holders.has(index)) return { code: 'SEAT_TAKEN' }
      sit(table, by, index)
      return onSeat
    case 'seat:leave': {
      const seat = seatHeld(table, by)
      if (seat === undefined) return { code: 'NOT_SEATED' }
      holders.delete(seat)
      return { code: 'ok', data: { seatIndex: seat } }
    }
    case 'seat:assign':
      if (locked.has(index)) return { code: 'SEAT_LOCKED' }
      muted.delete(target)
      sit(table, target, index)
      return onSeat
    case 'seat:lock':
      if (locked.has(index)) return { code: 'SEAT_ALREADY_LOCKED' }
      if (role !== 'owner' && holders.get(index) === table.ownerKey) return { code: 'FORBIDDEN' }
      holders.delete(index)
      locked.add(index)
      return onSeat
    case 'seat:unlock':
      return locked.delete(index) ? onSeat : { code: 'SEAT_NOT_LOCKED' }
    case 'seat:invite':
      if (holders.has(index)) return { code: 'SEAT_TAKEN' }
      if (table.invites.some(({ seatIndex }) => seatIndex === index)) return { code: 'INVITE_PENDING' }
      table.invites.push({ seatIndex: index, user: target })
      return onSeat
    case 'seat:invite:accept':
    case 'seat:invite:decline': {
      const invite = table.invites.findLast(({ seatIndex, user }) => user === by && seatIndex === (index ?? seatIndex))
      if (!invite) return { code: 'INVITE_NOT_FOUND' }
      table.invites.splice(table.invites.indexOf(invite), 1)
      if (type === 'seat:invite:accept') {
        locked.delete(invite.seatIndex)
        muted.delete(by)
        sit(table, by, invite.seatIndex)
      } else lower(table, by)
      return { code: 'ok', data: { seatIndex: invite.seatIndex } }
    }
    case 'seat:request':
      if (seatHeld(table, by) !== undefined) return { code: 'ALREADY_SEATED' }
      if (!table.requests.includes(by)) table.requests.push(by)
      return { code: 'ok', data: {} }
    case 'seat:request:cancel':
      if (target !== '' && target !== by && role === 'member') return { code: 'FORBIDDEN' }
      return lower(table, target === '' ? by : target) ? { code: 'ok', data: {} } : { code: 'SEAT_REQUEST_NOT_FOUND' }
    default: {
      if (type === 'seat:remove' && role !== 'owner' && target === table.ownerKey) return { code: 'FORBIDDEN' }
      const seat = seatHeld(table, target)
      if (seat === undefined) return { code: 'NOT_SEATED' }
      if (type === 'seat:remove') holders.delete(seat)
      else if (type === 'seat:mute') muted.add(target)
      else muted.delete(target)
      return onUser
    }
  }
}
