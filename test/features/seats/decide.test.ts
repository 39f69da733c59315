import fc from 'fast-check'
import t from 'tap'
import { assignGraceMs, decide, inviteMs, maxMuted, maxRequests } from '../../../features/seats/decide.ts'
import type { Actor, Command } from '../../../features/seats/decide.ts'
import { difference, isMuted, nextExpiry, noSeats, seatState, viewOf } from '../../../features/seats/state.ts'
import type { SeatState } from '../../../features/seats/state.ts'
import { tries } from '../../support/arbitrary.ts'
import { apply, plain, viewFrom } from './view.ts'
import type { View } from './view.ts'

// A model test: users with different rights send random commands in any order, and the invariants below must hold.

/** Number of random sequences of commands; decide.long.ts runs more sequences. */
const runs = Number(process.env.SEAT_RUNS ?? 50)

const people = 8
const most = 7
const userId = fc.oneof(fc.integer({ min: 1, max: people }), fc.integer({ min: 1, max: people }).map(String))
const seatIndex = fc.integer({ min: 0, max: most + 1 })
const optional = fc.option(seatIndex, { nil: undefined })

const byPeople: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('take' as const), seatIndex }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constantFrom('lock' as const, 'unlock' as const), seatIndex }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('leave' as const) }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constantFrom('assign' as const, 'invite' as const, 'invite' as const), userId, seatIndex }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constantFrom('remove' as const, 'mute' as const, 'unmute' as const), userId }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constantFrom('accept' as const, 'accept' as const, 'decline' as const), seatIndex: optional }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('selfMute' as const), muted: fc.boolean() }) },
  { weight: 3, arbitrary: fc.constant({ type: 'request' as const }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('cancel' as const), userId: fc.option(userId, { nil: undefined }) }) }
)
const byServer: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ type: fc.constant('gone' as const), userId, reason: fc.constantFrom('left' as const, 'removed' as const) }),
  fc.record({ type: fc.constant('away' as const), userIds: fc.array(userId, { maxLength: 3 }), until: fc.integer({ min: 0, max: 60_000 }) }),
  fc.record({ type: fc.constant('back' as const), userId }),
  fc.array(fc.tuple(userId.map(String), fc.boolean()), { maxLength: people }).map((present): Command => ({ type: 'tick', present: new Map(present) })),
  fc.record({ type: fc.constant('resize' as const), seatCount: fc.integer({ min: 1, max: most }) })
)
interface Step { command: Command, actor: Actor | undefined, later: number }
const later = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: inviteMs + 1000 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(byPeople, userId, later).map(([command, userId, later]) => ({ command, later, actor: { userId, role: roleOf(userId), ownerId: 1 } })) },
  { weight: 1, arbitrary: fc.tuple(byServer, later).map(([command, later]) => ({ command, later, actor: undefined })) }
)
/** User 1 is the owner; users 2 and 3 are admins. */
function roleOf (userId: string | number) {
  if (String(userId) === '1') return 'owner' as const
  return Number(userId) <= 3 ? 'admin' as const : 'member' as const
}

/** Returns the view of a client that has received every event. */
function seen (state: SeatState): View {
  const { seats, ...rest } = viewOf(state)
  return viewFrom({ ...rest, seats: seats.map((seat, i) => ({ ...seat, selfMuted: state.seats[i]?.selfMuted === true })), invites: state.invites })
}
const codes = new Set<string>()

function check (state: SeatState): void {
  const indexes = state.seats.map(({ seatIndex }) => seatIndex)
  const holders = state.seats.map(({ userId }) => String(userId))
  const fail = (what: string): never => { throw new Error(`${what}: ${JSON.stringify(state)}`) }
  if (new Set(indexes).size !== indexes.length) fail('a seat has two occupants')
  if (new Set(holders).size !== holders.length) fail('a user is on two seats')
  if (indexes.some((index) => state.locked.includes(index))) fail('a locked seat is occupied')
  if ([...indexes, ...state.locked, ...state.invites.map(({ seatIndex }) => seatIndex)].some((index) => index < 0 || index >= state.seatCount)) fail('there is no such seat')
  if (new Set(state.locked).size !== state.locked.length) fail('a seat is locked twice')
  if (new Set(state.muted).size !== state.muted.length) fail('a user is muted twice')
  if (indexes.some((index, i) => index < (indexes[i - 1] ?? -1))) fail('seats are not in order')
  if (state.invites.some(({ seatIndex }) => indexes.includes(seatIndex))) fail('an occupied seat has an invite')
  if (new Set(state.invites.map(({ seatIndex }) => seatIndex)).size !== state.invites.length) fail('a seat has two invites')
  const asking = state.requests.map(({ userId }) => String(userId))
  if (new Set(asking).size !== asking.length) fail('a user has two requests')
  if (asking.some((key) => holders.includes(key))) fail('a seated user has a request')
  if (asking.length > maxRequests) fail('there are too many requests')
  if (state.requests.some(({ requestedAt }, i, all) => requestedAt < (all[i - 1]?.requestedAt ?? 0))) fail('requests are not in order of their times')
  if (new Set(state.seats.map(({ sitting }) => sitting)).size !== state.seats.length) fail('two occupants share a sitting number')
}

/** Whether the contract allows a command. */
function mayCommand ({ command, actor }: Step, state: SeatState): boolean {
  if (!actor || actor.role === 'owner') return true
  const owners = (userId: string | number | undefined) => String(userId) === '1'
  switch (command.type) {
    case 'take': case 'leave': case 'accept': case 'decline': case 'selfMute': case 'request': return true
    case 'cancel': return actor.role === 'admin' || String(command.userId ?? actor.userId) === String(actor.userId)
    case 'assign': return false
    case 'remove': return actor.role === 'admin' && !owners(command.userId)
    case 'lock': return actor.role === 'admin' && !owners(state.seats.find(({ seatIndex }) => seatIndex === command.seatIndex)?.userId)
    default: return actor.role === 'admin'
  }
}

/** Whether the contract allows a command to end a user's seat request. `mayCommand` checks the sender's permission. */
function mayEnd ({ command, actor }: Step, key: string, awayUntil: number, now: number): boolean {
  switch (command.type) {
    case 'take': case 'accept': case 'decline': return String(actor?.userId) === key
    case 'cancel': return String(command.userId ?? actor?.userId) === key
    case 'assign': case 'gone': return String(command.userId) === key
    case 'tick': return awayUntil <= now && command.present.get(key) === false
    default: return false
  }
}

/** @returns the decision; undefined if the command is rejected */
function attempt<T> (decide: () => T): T | undefined {
  try {
    return decide()
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === undefined) throw error
    codes.add(code)
    return undefined
  }
}

function advance (state: SeatState, step: Step, now: number): SeatState {
  const { command, actor } = step
  const given = JSON.stringify(state)
  const decision = attempt(() => decide(state, command, actor, now))
  if (JSON.stringify(state) !== given) throw new Error(`${command.type} modified its input`)
  if (!decision) return state
  if (!mayCommand(step, state)) throw new Error(`${command.type} is accepted from the role ${actor?.role}`)

  const { state: next = state, events = [], wakeAt } = decision
  if (decision.state === undefined && events.length > 0) throw new Error('an event without a state change')
  check(next)
  const view = seen(state)
  for (const event of events) {
    const wrong = apply(view, event)
    if (wrong !== '') throw new Error(`${wrong} after ${command.type}`)
  }
  sameView(view, next, `the events of ${command.type}`)
  if (decision.state !== undefined && wakeAt !== nextExpiry(next)) throw new Error('the next deadline is wrong')
  if (command.type === 'tick') {
    if (next.invites.some(({ expiresAt }) => expiresAt <= now)) throw new Error('an invite outlives its expiry')
    for (const held of ['seats', 'requests'] as const) {
      for (const { userId, awayUntil = Infinity } of state[held] ?? []) {
        const present = command.present.get(String(userId))
        const after = next[held]?.find((one) => String(one.userId) === String(userId))
        if ((after === undefined) !== (awayUntil <= now && present === false)) throw new Error(`${userId} ${after ? 'keeps' : 'loses'} the seat or request`)
        if (present === true && (after?.awayUntil ?? Infinity) <= now) throw new Error(`the grace period of ${userId} continues`)
      }
    }
  }
  for (const { userId, requestedAt, awayUntil = Infinity } of state.requests) {
    const after = next.requests.find((request) => String(request.userId) === String(userId))
    if (after && after.requestedAt !== requestedAt) throw new Error(`${command.type} changes the position of ${userId}`)
    if (!after && !mayEnd(step, String(userId), awayUntil, now)) throw new Error(`${command.type} ends the request of ${userId}`)
  }
  // A mute ends only when the user is unmuted, is assigned a seat or accepts an invite.
  for (const key of state.muted) {
    if (next.muted.includes(key)) continue
    const lifted = (command.type === 'unmute' || command.type === 'assign') && String(command.userId) === key
    if (!lifted && !(command.type === 'accept' && String(actor?.userId) === key)) throw new Error(`${command.type} ends the mute of ${key}`)
  }
  return next
}

function sameView (view: View, state: SeatState, what: string): void {
  const all = (view: View) => JSON.stringify({ ...plain(view), selfMuted: [...view.seats].filter(([, { selfMuted }]) => selfMuted).map(([index]) => index).sort() })
  const [got, wanted] = [all(view), all(seen(state))]
  if (got !== wanted) throw new Error(`${what} result in ${got} instead of ${wanted}`)
}

/**
 * Together, the commands in `refusals` trigger every rejection. Random runs may not cause every rejection, and never
 * reach the limit of seat requests.
 */
const asMany = Array.from({ length: maxRequests + 1 }, (_, i): [Command, number] => [{ type: 'request' }, 100 + i])
const refusals: Step[] = ([
  [{ type: 'leave' }, 5], [{ type: 'take', seatIndex: most }, 5], [{ type: 'lock', seatIndex: 0 }, 5],
  [{ type: 'lock', seatIndex: 0 }, 1], [{ type: 'lock', seatIndex: 0 }, 1], [{ type: 'take', seatIndex: 0 }, 5],
  [{ type: 'unlock', seatIndex: 1 }, 1], [{ type: 'take', seatIndex: 1 }, 5], [{ type: 'take', seatIndex: 1 }, 6],
  [{ type: 'invite', userId: 1, seatIndex: 2 }, 1], [{ type: 'invite', userId: 6, seatIndex: 2 }, 1], [{ type: 'invite', userId: 7, seatIndex: 2 }, 1],
  [{ type: 'accept' }, 7], [{ type: 'take', seatIndex: 3 }, 8], [{ type: 'request' }, 8], [{ type: 'cancel' }, 8], ...asMany
] satisfies [Command, number][]).map(([command, userId]) => ({ command, later: 0, actor: { userId, role: roleOf(userId), ownerId: 1 } }))

t.test('any sequence of commands keeps the invariants', async (t) => {
  fc.assert(fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
    let state = noSeats(most)
    let now = 1000
    const states = [state]
    for (const step of steps) {
      now += step.later
      state = advance(state, step, now)
      states.push(state)
    }
    // Clients that missed events receive the difference between their state and the current state.
    for (const [i, from] of states.entries()) {
      const to = states[(i * 7919) % states.length] as SeatState
      const view = seen(from)
      for (const event of difference(from, to)) apply(view, event)
      sameView(view, to, 'the events for missed changes')
      const fresh = seen(noSeats(to.seatCount))
      for (const event of difference(undefined, to)) apply(fresh, event)
      sameView(fresh, to, 'the events for the whole state')
    }
  }), { ...tries(runs), examples: [[refusals]] })
  t.same([...codes].sort(), [
    'ALREADY_SEATED', 'CANNOT_TARGET_SELF', 'FORBIDDEN', 'INVITE_NOT_FOUND', 'INVITE_PENDING', 'NOT_SEATED',
    'SEAT_ALREADY_LOCKED', 'SEAT_INVALID', 'SEAT_LOCKED', 'SEAT_NOT_LOCKED', 'SEAT_REQUESTS_FULL', 'SEAT_REQUEST_NOT_FOUND', 'SEAT_TAKEN'
  ], 'every rejection has occurred')
})

t.test('the events for missed changes keep the invariants', async (t) => {
  fc.assert(fc.property(fc.array(step, { maxLength: 40, size: 'max' }), fc.array(step, { maxLength: 40, size: 'max' }), (before, after) => {
    let now = 1000
    const run = (state: SeatState, steps: readonly Step[]) => steps.reduce((state, step) => {
      now += step.later
      return advance(state, step, now)
    }, state)
    const from = run(noSeats(most), before)
    const to = run(from, after)
    const view = seen(from)
    for (const event of difference(from, to)) {
      const wrong = apply(view, event)
      if (wrong !== '') throw new Error(wrong)
    }
    sameView(view, to, 'the events for missed changes')
  }), tries(runs))
})

const owner: Actor = { userId: 1, role: 'owner', ownerId: 1 }
const admin: Actor = { userId: 2, role: 'admin', ownerId: 1 }
const member = (userId: string | number): Actor => ({ userId, role: 'member' })

type Move = [command: Command, actor?: Actor, now?: number]

/** Executes several commands and returns the result of the last command. */
function after (...moves: readonly [Move, ...Move[]]) {
  let state = noSeats(4)
  let events: readonly { type: string, data: object }[] = []
  let changed = false
  for (const [command, actor, now = 0] of moves) {
    const decision = decide(state, command, actor, now)
    changed = decision.state !== undefined
    state = decision.state ?? state
    events = decision.events ?? []
  }
  return { state, events, changed }
}

/** Executes several commands and returns the error code of the last command. */
function refusal (...moves: readonly [Move, ...Move[]]): string {
  try {
    after(...moves)
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

const take = (seatIndex: number): Command => ({ type: 'take', seatIndex })
const invite = (userId: number, seatIndex: number): Command => ({ type: 'invite', userId, seatIndex })
const mute = (userId: number): Command => ({ type: 'mute', userId })

t.test('an invite expires after 30 s', async (t) => {
  t.equal(inviteMs, 30_000)
  const invited: Move = [invite(5, 1), admin, 1000]
  t.same(after(invited).state.invites, [{ seatIndex: 1, userId: 5, invitedById: 2, expiresAt: 31_000 }])
  t.equal(nextExpiry(after(invited).state), 31_000)
  t.equal(refusal(invited, [{ type: 'accept' }, member('5'), 30_999]), 'none')
  for (const type of ['accept', 'decline'] as const) t.equal(refusal(invited, [{ type }, member(5), 31_000]), 'INVITE_NOT_FOUND', type)
  t.equal(refusal(invited, [invite(6, 1), owner, 30_999]), 'INVITE_PENDING')
  t.equal(refusal(invited, [invite(6, 1), owner, 31_000]), 'none', 'an expired invite does not block the user')
  t.same(after(invited, [invite(6, 1), owner, 31_000]).events, [
    { type: 'seat:invite:pending', data: { seatIndex: 1, isPending: false, invitedUserId: 5 } },
    { type: 'seat:invite:pending', data: { seatIndex: 1, isPending: true, invitedUserId: 6 } }
  ])
  t.same(after(invited, [{ type: 'tick', present: new Map() }, undefined, 30_999]).changed, false)
  t.same(after(invited, [{ type: 'tick', present: new Map() }, undefined, 31_000]).events, [
    { type: 'seat:invite:pending', data: { seatIndex: 1, isPending: false, invitedUserId: 5 } }
  ])
})

t.test('accepting without a seat index uses the newest invite', async (t) => {
  const both: [Move, Move] = [[invite(5, 3), owner, 0], [invite(5, 1), owner, 1]]
  t.match(after(...both, [{ type: 'accept' }, member(5), 2]).state, { seats: [{ seatIndex: 1, userId: 5 }], invites: [{ seatIndex: 3 }] })
  t.match(after(...both, [{ type: 'accept', seatIndex: 3 }, member(5), 2]).state, { seats: [{ seatIndex: 3 }], invites: [{ seatIndex: 1 }] })
  t.equal(refusal(...both, [{ type: 'accept', seatIndex: 2 }, member(5), 2]), 'INVITE_NOT_FOUND')
  t.equal(refusal(...both, [{ type: 'accept' }, member(6), 2]), 'INVITE_NOT_FOUND', 'only the invited user can accept')
})

t.test('a mute survives a change of seat', async (t) => {
  const muted: [Move, Move] = [[take(0), member(5)], [mute(5), admin]]
  t.equal(isMuted(after(...muted, [{ type: 'leave' }, member(5)], [take(1), member('5')]).state, 5), true, 'taking a seat again does not end the mute')
  t.equal(isMuted(after(...muted, [take(1), member(5)]).state, 5), true, 'moving to a different seat does not end the mute')
  t.equal(isMuted(after(...muted, [{ type: 'gone', userId: 5, reason: 'left' }], [take(1), member(5)]).state, 5), true, 'leaving the room does not end the mute')
  t.equal(isMuted(after(...muted, [{ type: 'assign', userId: 5, seatIndex: 2 }, owner]).state, 5), false, 'an assignment by the owner ends the mute')
  t.equal(isMuted(after(...muted, [invite(5, 2), admin], [{ type: 'accept' }, member(5)]).state, 5), false, 'an invite by an admin ends the mute')
  t.equal(after(...muted, [mute(5), owner]).changed, false, 'repeating has no effect')

  const here = after(...muted, [{ type: 'assign', userId: 5, seatIndex: 0 }, owner])
  t.same(here.events, [{ type: 'seat:userMuted', data: { userId: 5, isMuted: false, selfMuted: false } }], 'an assignment to the current seat also ends the mute')
  t.equal(after([take(0), member(5)], [{ type: 'assign', userId: 5, seatIndex: 0 }, owner]).changed, false)
})

t.test('the owner may unmute themselves', async (t) => {
  const unmute: Command = { type: 'unmute', userId: 1 }
  t.equal(refusal([take(0), owner], [unmute, owner]), 'CANNOT_TARGET_SELF')
  t.equal(isMuted(after([take(0), owner], [mute(1), admin], [unmute, owner]).state, 1), false)
  t.equal(refusal([take(0), owner], [mute(1), owner]), 'CANNOT_TARGET_SELF')
  t.equal(refusal([take(1), admin], [mute(2), owner], [{ type: 'unmute', userId: 2 }, admin]), 'CANNOT_TARGET_SELF', 'admins may not unmute themselves')
})

t.test('reports a user who left the seat and took it again', async (t) => {
  const before = after([take(0), member(5)]).state
  const { state } = after([take(0), member(5)], [{ type: 'leave' }, member(5)], [take(0), member(5)])
  t.same(difference(before, state), [
    { type: 'seat:cleared', data: { seatIndex: 0, userId: 5, reason: 'moved' } },
    { type: 'seat:updated', data: { seatIndex: 0, userId: 5, isMuted: false } }
  ])
})

t.test('a seat is reserved for the grace period', async (t) => {
  const away: [Move, Move] = [[take(0), member(5)], [{ type: 'away', userIds: ['5', 6], until: 1000 }]]
  const tick = (now: number, ...present: [string, boolean][]): Move => [{ type: 'tick', present: new Map(present) }, undefined, now]
  t.same(after(...away).events, [], 'no event is sent')
  t.equal(nextExpiry(after(...away).state), 1000)
  t.equal(after(...away, tick(999, ['5', false])).changed, false)
  t.equal(after(...away, tick(1000)).changed, false, 'the seat is kept until the presence is checked')
  t.same(after(...away, tick(1000, ['5', false])).events, [{ type: 'seat:cleared', data: { seatIndex: 0, userId: 5, reason: 'disconnected' } }])
  const back = after(...away, tick(1000, ['5', true]))
  t.same([back.events, nextExpiry(back.state), back.state.seats.length], [[], undefined, 1])
  const returned = after(...away, [{ type: 'back', userId: '5' }])
  t.same([returned.events, returned.state.seats], [[], after([take(0), member(5)]).state.seats], 'the grace period ends as soon as the user is back')
  t.equal(after(...away, [{ type: 'back', userId: 6 }]).changed, false)
  t.equal(nextExpiry(after(...away, [{ type: 'away', userIds: [5], until: 3000 }]).state), 3000, 'a second disconnect restarts the grace period')
  t.match(after([{ type: 'assign', userId: 5, seatIndex: 1 }, owner, 100]).state.seats, [{ awayUntil: 100 + assignGraceMs }], 'an assigned user must be present')
})

const ask: Command = { type: 'request' }
const cancel = (userId?: number | string): Command => ({ type: 'cancel', userId })
/** Executes several commands and returns the users who have a pending request afterwards. */
const asking = (...moves: readonly [Move, ...Move[]]) => after(...moves).state.requests.map(({ userId }) => userId)

t.test('users without a seat are queued in the order of their requests', async (t) => {
  const two: [Move, Move] = [[ask, member(6), 1000], [ask, member('5'), 2000]]
  t.same(after(...two).state.requests, [{ userId: 6, requestedAt: 1000 }, { userId: '5', requestedAt: 2000 }])
  t.same(after(...two).events, [{ type: 'seat:hand', data: { userId: '5', handRaised: true } }], 'everyone sees raised hands')
  t.same(after(...two, [cancel(), member(6), 3000]).events, [{ type: 'seat:hand', data: { userId: 6, handRaised: false } }])
  const again = after(...two, [ask, member('6'), 3000])
  t.same([again.changed, again.state.requests[0]], [false, { userId: 6, requestedAt: 1000 }], 'a repeated request keeps its position')
  t.equal(refusal([take(0), member(5)], [ask, member('5')]), 'ALREADY_SEATED')
  t.same(asking([take(0), member(5)], [{ type: 'leave' }, member(5)], [ask, member(5)]), [5])
  t.same(asking([ask, owner], [ask, admin]), [1, 2], 'the owner and admins can request a seat, too')
})

t.test('keeps at most 500 mutes', async (t) => {
  const mutes = Array.from({ length: maxMuted + 1 }, (_, i): Move[] => [[take(0), member(100 + i)], [{ type: 'mute', userId: 100 + i }, owner], [{ type: 'leave' }, member(100 + i)]]).flat()
  const { state } = after(...mutes as [Move])
  t.equal(state.muted.length, maxMuted)
  t.same([state.muted[0], state.muted.at(-1)], ['101', String(100 + maxMuted)], 'the oldest mute has ended')
})

t.test('allows 200 requests', async (t) => {
  const [first = [ask, member(99)], ...others] = Array.from({ length: 200 }, (_, i): Move => [ask, member(100 + i)])
  t.equal(refusal(first, ...others), 'none')
  t.equal(refusal(first, ...others, [ask, member(300)]), 'SEAT_REQUESTS_FULL')
  t.equal(refusal(first, ...others, [ask, member(150)]), 'none', 'a repeated request is accepted')
  t.equal(refusal(first, ...others, [cancel(), member(150)], [ask, member(300)]), 'none')
})

t.test('a hand can be lowered by its user, the owner and admins', async (t) => {
  const up: Move = [ask, member(5), 0]
  for (const move of [[cancel(), member(5)], [cancel('5'), member(5)], [cancel(5), member('5')], [cancel('5'), admin], [cancel(5), owner]] as Move[]) t.same(asking(up, move), [])
  t.equal(refusal(up, [cancel(5), member(6)]), 'FORBIDDEN')
  t.equal(refusal([cancel(5), member(6)]), 'FORBIDDEN', 'the error does not reveal whether a request exists')
  for (const who of [member(6), admin, owner]) t.equal(refusal(up, [cancel(), who]), 'SEAT_REQUEST_NOT_FOUND')
  t.equal(refusal(up, [cancel(6), owner]), 'SEAT_REQUEST_NOT_FOUND')
  t.equal(refusal(up, [cancel(), member(5)], [cancel(), member(5)]), 'SEAT_REQUEST_NOT_FOUND')
})

t.test('a request ends when its user takes a seat or leaves', async (t) => {
  const both: [Move, Move] = [[ask, member(5)], [ask, member(6)]]
  t.same(asking(...both, [take(0), member('5')]), [6])
  t.same(asking(...both, [{ type: 'assign', userId: '5', seatIndex: 0 }, owner]), [6])
  t.same(asking(...both, [invite(5, 0), admin]), [5, 6], 'an invite does not end the request')
  t.same(asking(...both, [invite(5, 0), admin], [{ type: 'accept' }, member(5)]), [6])
  t.same(asking(...both, [invite(5, 0), admin], [{ type: 'decline' }, member('5')]), [6])
  t.same(asking(...both, [invite(5, 0), admin], [{ type: 'tick', present: new Map() }, undefined, inviteMs]), [5, 6], 'an expired invite does not end the request, either')
  t.equal(refusal(...both, [invite(5, 0), admin], [{ type: 'decline' }, member(5), inviteMs]), 'INVITE_NOT_FOUND')
  for (const reason of ['left', 'removed'] as const) t.same(asking(...both, [{ type: 'gone', userId: '5', reason }]), [6])
  t.same(asking(...both, [take(0), member(7)], [{ type: 'remove', userId: 7 }, owner], [{ type: 'resize', seatCount: 1 }]), [5, 6])
})

t.test('a request is kept for the grace period', async (t) => {
  const away: [Move, Move, Move] = [[ask, member(5), 10], [ask, member(6), 20], [{ type: 'away', userIds: ['5'], until: 1000 }]]
  const tick = (now: number, ...present: [string, boolean][]): Move => [{ type: 'tick', present: new Map(present) }, undefined, now]
  t.same(after(...away).state.requests, [{ userId: 5, requestedAt: 10, awayUntil: 1000 }, { userId: 6, requestedAt: 20 }])
  t.equal(nextExpiry(after(...away).state), 1000)
  t.equal(after(...away, tick(999, ['5', false])).changed, false)
  t.equal(after(...away, tick(1000)).changed, false, 'the request is kept until the presence is checked')
  t.same(asking(...away, tick(1000, ['5', false])), [6])
  const back = after(...away, tick(1000, ['5', true])).state
  t.same([back.requests, nextExpiry(back)], [[{ userId: 5, requestedAt: 10 }, { userId: 6, requestedAt: 20 }], undefined])
  const returned = after(...away, [{ type: 'back', userId: '5' }])
  t.same([returned.state.requests, returned.events], [back.requests, [{ type: 'seat:hand', data: { userId: 5, handRaised: true } }]])
})

t.test('parses state that was stored before seat requests existed', async (t) => {
  const { requests, ...stored } = noSeats(4)
  t.same(requests, [])
  const old = seatState.parse(stored)
  t.same(old.requests, [])
  t.equal(nextExpiry(old), undefined)
  const decision = decide(old, ask, member(5), 7)
  t.same(decision.state?.requests, [{ userId: 5, requestedAt: 7 }])
  for (const command of [cancel(), { type: 'accept' }] satisfies Command[]) t.throws(() => decide(old, command, member(5), 0), { code: /_NOT_FOUND$/ })
  for (const command of [{ type: 'gone', userId: 5, reason: 'left' }, { type: 'away', userIds: [5], until: 1 }, { type: 'back', userId: 5 }, { type: 'tick', present: new Map() }] satisfies Command[]) {
    t.equal(decide(old, command, undefined, 0).state, undefined, command.type)
  }
  t.match(decide(old, take(0), member(5), 0).state?.seats, [{ userId: 5 }])
})

t.test('reduces the number of seats', async (t) => {
  const moves: [Move, Move, Move, Move] = [[take(3), member(5)], [take(0), member(6)], [{ type: 'lock', seatIndex: 2 }, owner], [invite(7, 1), owner]]
  t.same(after(...moves, [{ type: 'resize', seatCount: 1 }]).events, [
    { type: 'seat:cleared', data: { seatIndex: 3, userId: 5, reason: 'removed' } },
    { type: 'seat:invite:pending', data: { seatIndex: 1, isPending: false, invitedUserId: 7 } },
    { type: 'seat:locked', data: { seatIndex: 2, isLocked: false } },
    { type: 'seat:count', data: { seatCount: 1 } }
  ])
  t.same(after(...moves, [{ type: 'resize', seatCount: 1 }], [{ type: 'resize', seatCount: 4 }]).state.locked, [], 'removed seats return empty')
  t.equal(after(...moves, [{ type: 'resize', seatCount: 4 }]).changed, false)
})

t.test('the event that lowers a hand has the id of the request', (t) => {
  for (const command of [cancel('5'), { type: 'gone', userId: '5', reason: 'removed' }] satisfies Command[]) {
    t.strictSame(after([ask, member(5)], [command, owner]).events, [{ type: 'seat:hand', data: { userId: 5, handRaised: false } }])
  }
  t.end()
})
