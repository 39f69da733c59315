import fc from 'fast-check'
import t from 'tap'
import { applyChanges, fieldsFor, needsAllFields } from '../../../features/webhooks/known-room.ts'
import type { Change, RoomStart } from '../../../features/webhooks/known-room.ts'

interface Sent { id: string, event: string, data: Record<string, unknown> }

/** Creates a record, in the storage format, of the room state that was last reported to the webhook receivers. */
function createKnown () {
  const fields = new Map<string, string>()
  let made = 0
  return {
    fields,
    /** @returns the events that the changes cause */
    apply (...changes: (Partial<Change> & { type: Change['type'] })[]): Sent[] {
      const complete = changes.map((change) => ({ id: `change ${++made}`, at: 1_700_000_000_000 + made, ...change }) as Change)
      const names = fieldsFor(complete)
      const partial = applyChanges('r1', new Map([...fields].filter(([name]) => names.includes(name))), complete, false)
      const step = partial === needsAllFields ? applyChanges('r1', fields, complete, true) : partial
      if (step === needsAllFields) throw new Error('all fields were given')
      for (const name of step.remove) fields.delete(name)
      for (const [name, value] of step.set) fields.set(name, value)
      return step.events.map(({ body }) => JSON.parse(body) as Sent)
    }
  }
}

const room = (startedAt: number): RoomStart => ({ startedAt, ownerId: 1 })
const joined = (userId: string, startedAt = 10, more = {}) => ({ type: 'joined', room: room(startedAt), userKey: userId, data: { userId, user: { userId, id: userId }, participantCount: 1 }, ...more }) as const
const left = (userId: string, startedAt: number | undefined = 10, more = {}) => ({ type: 'left', startedAt, userKey: userId, reason: 'left', count: 0, ...more }) as const
const names = (events: readonly Sent[]) => events.map(({ event, data }) => `${event}${'userId' in data ? ` ${String(data.userId)}` : ''}`)

t.test('orders the reports of several servers', async (t) => {
  const known = createKnown()
  t.strictSame(names(known.apply(joined('ada'))), ['room_started', 'participant_joined ada'], 'a join may arrive before the report that the room was created')
  t.strictSame(known.apply({ type: 'started', room: room(10) }), [])
  t.strictSame(names(known.apply(joined('ada'))), [], 'the user may rejoin on another server before the first server reports the leave')
  t.strictSame(names(known.apply(left('ada'))), ['participant_left ada', 'participant_joined ada'])
  t.strictSame(names(known.apply(left('ada', 5))), [], 'a leave from an earlier room is ignored')
  t.strictSame(names(known.apply(joined('bob', 20))), ['participant_left ada', 'room_finished', 'room_started', 'participant_joined bob'], 'a new room ends the old one')
  t.strictSame(names(known.apply({ type: 'finished', startedAt: 10, reason: 'inactivity' })), [])
  t.strictSame(names(known.apply({ type: 'finished', startedAt: 20, reason: 'inactivity' })), ['participant_left bob', 'room_finished'])
  t.strictSame(names(known.apply(joined('eve', 20), left('bob', 20), left('bob', undefined))), [], 'late reports about a closed room are ignored')
  t.strictSame([...known.fields.keys()], ['room'])
})

t.test('a repeated change causes no webhooks, or webhooks with the same ids', async (t) => {
  const known = createKnown()
  const once = known.apply({ ...joined('ada'), id: 'x', at: 1 })
  t.strictSame(known.apply({ ...joined('ada'), id: 'x', at: 1 }), [])
  t.strictSame(createKnown().apply({ ...joined('ada'), id: 'x', at: 1 }), once)
  t.equal(new Set(once.map(({ id }) => id)).size, 2)
})

t.test('a correction does not override newer reports', async (t) => {
  const known = createKnown()
  const [, first] = known.apply(joined('ada'))
  t.strictSame(known.apply(joined('ada', 10, { isCorrection: true })), [])
  t.strictSame(known.apply(left('ada', 10, { joinedAt: 1 })), [])
  t.strictSame(names(known.apply(left('ada', 10, { joinedAt: (first as unknown as { createdAt: number }).createdAt }))), ['participant_left ada'])
})

t.test('ignores outdated reports about seats and broadcasts', async (t) => {
  const known = createKnown()
  known.apply({ type: 'started', room: room(10) })
  const seats = (revision: number, ...entries: [number, string | null][]) =>
    ({ type: 'seats', startedAt: 10, revision, seats: entries.map(([seatIndex, userId]) => ({ seatIndex, userId, isMuted: false, isLocked: userId === null })) }) as const
  t.strictSame(known.apply(seats(5, [2, 'ada'])).map(({ data }) => data), [{ seatIndex: 2, userId: 'ada', isMuted: false, isLocked: false, previousUserId: null }])
  t.strictSame(known.apply(seats(4)), [])
  t.strictSame(known.apply(seats(6, [1, 'ada'], [3, null])).map(({ data: { seatIndex, userId, isLocked } }) => [seatIndex, userId, isLocked]), [[2, null, false], [3, null, true], [1, 'ada', false]], 'free seats first')
  const air = (startedAt: number, onAir: boolean) => ({ type: 'broadcast', startedAt, onAir, hlsUrl: '/x' }) as const
  t.strictSame(names(known.apply(air(20, false))), ['broadcast_started', 'broadcast_stopped'], 'the stop arrives first')
  t.strictSame(known.apply(air(20, true)), [])
  t.strictSame(names(known.apply(air(30, true), air(30, true), air(20, false))), ['broadcast_started'])
  t.strictSame(names(known.apply({ type: 'finished', startedAt: 10, reason: 'inactivity' })), ['broadcast_stopped', 'room_finished'])
})

t.test('joins and leaves alternate, regardless of the order of their reports', async () => {
  const change = fc.oneof(
    fc.record({ user: fc.constantFrom('ada', 'bob'), startedAt: fc.constantFrom(10, 20), type: fc.constantFrom('joined', 'left') }),
    fc.record({ startedAt: fc.constantFrom(10, 20), type: fc.constantFrom('started', 'finished') })
  )
  fc.assert(fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
    const known = createKnown()
    const present = new Set<unknown>()
    let isOpen = false
    for (const step of changes) {
      const { type, startedAt } = step
      const user = 'user' in step ? step.user : ''
      const events = type === 'joined'
        ? known.apply(joined(user, startedAt))
        : type === 'left' ? known.apply(left(user, startedAt)) : known.apply(type === 'started' ? { type: 'started', room: room(startedAt) } : { type: 'finished', startedAt, reason: 'x' })
      for (const { event, data } of events) {
        if (event === 'room_started' && isOpen) return false
        if (event === 'room_finished' && (!isOpen || present.size > 0)) return false
        if (event === 'room_started' || event === 'room_finished') isOpen = event === 'room_started'
        if (event === 'participant_joined' && (!isOpen || present.size === present.add(data.userId).size)) return false
        if (event === 'participant_left' && !present.delete(data.userId)) return false
      }
      const stored = JSON.parse(known.fields.get('room') ?? '{"members":0,"isClosed":true}') as { members: number, isClosed?: boolean }
      if (stored.members !== present.size || isOpen === (stored.isClosed === true)) return false
    }
    return true
  }), { numRuns: 300 })
})
