import type { UserId } from '../../../plugins/connections/session.ts'
import { tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { Event, Reply, TestClient } from '../../support/client.ts'
import { until } from '../../support/retry.ts'
import type { Node } from './model-nodes.ts'
import { pick, randomFrom } from './model-requests.ts'
import type { Random } from './model-requests.ts'
import { objection, requestsFor } from './model-rules.ts'
import type { Outcome, Request } from './model-rules.ts'
import { count } from './model-harness.ts'
import type { Harness } from './model-harness.ts'
import { apply, viewFrom } from './view.ts'
import type { SeatsReply, View } from './view.ts'

// A player simulates one of many users, checks every message on arrival and records violations.

export interface Player {
  readonly key: string
  readonly random: Random
  /** The current room and the player's view of the room; undefined if the player is disconnected or in no room. */
  room (): { roomId: string, view: View } | undefined
  /** Id of the current room; undefined if the player is leaving it or the server is down. */
  inside (): string | undefined
  /** Time of the last join, in epoch milliseconds. */
  since (): number
  /** The server that the player is connected to; undefined if disconnected. */
  node (): Node | undefined
  /** Joins a room and leaves any other room. Connects first if necessary, and retries until the join succeeds. */
  enter (roomId: string, seatCount?: number): Promise<void>
  leave (): Promise<void>
  /** Closes the connection without leaving the room. */
  drop (): void
  /** Sends a request, and checks the outcome as far as the test can predict it. */
  ask (request: Request): Promise<Outcome>
}

/**
 * Checks the invariants that hold for every client's view of a room.
 *
 * @returns the violation; an empty string if there is none
 */
export function impossible ({ seats, locked, invites, seatCount }: View): string {
  const holders = [...seats.values()].map(({ userId }) => String(userId))
  if (new Set(holders).size < holders.length) return `a user is on two seats: ${holders.join()}`
  if ([...seats.keys()].some((index) => locked.has(index))) return 'a locked seat is occupied'
  if ([...invites.keys()].some((index) => seats.has(index))) return 'an occupied seat has an invite'
  if ([...seats.keys(), ...locked, ...invites.keys()].some((index) => index >= seatCount)) return 'a seat index exceeds the seat count'
  return ''
}

/** Checks the seats in a reply like {@link impossible}, and also checks that no seat is listed twice. */
export function impossibleReply (reply: SeatsReply): string {
  const indexes = reply.seats.map(({ seatIndex }) => seatIndex)
  return new Set(indexes).size < indexes.length ? `a seat has two holders: ${indexes.join()}` : impossible(viewFrom(reply))
}

export function createPlayer (harness: Harness, id: UserId, seed: number): Player {
  const { t, nodes, journal, problems } = harness
  const key = String(id)
  const random = randomFrom(seed)
  const token = tokenFor(id, { roles: harness.rolesOf(key) })
  let client: TestClient | undefined
  let room: { roomId: string, view: View } | undefined
  let since = 0
  let replyRole = ''
  let node: Node | undefined
  /** Whether the player has sent a request to leave the current room. */
  let leaving = false
  /**
   * True if a request may still release the seat: `before` for requests sent before the join, `since` for later
   * requests.
   */
  let mayLoseSeat = { before: false, since: false }

  const problem = (what: string) => problems.push(`${key} in ${room?.roomId}: ${what}`)

  function handle (message: Reply & Event): void {
    if (message.ok && 'participants' in message.data) {
      const reply = message.data as unknown as SeatsReply & { roomId: string, self: { role: string } }
      room = { roomId: reply.roomId, view: viewFrom(reply) }
      since = Date.now()
      leaving = false
      replyRole = reply.self.role
      journal.back(reply.roomId, key)
      mayLoseSeat = { before: reply.seats.some(({ userId }) => String(userId) === key), since: false }
      const wrong = impossibleReply(reply)
      if (wrong !== '') problem(`the join reply is invalid: ${wrong}`)
      checkRequests()
    }
    const { type = '', data } = message
    if (!type.startsWith('seat:')) return
    count(harness, 'events')
    if (type !== 'seat:invite:received') follow(message)
    // Requests of other users can also cause this event, so the journal does not look for the cause.
    if (type === 'seat:requests') return
    journal.record(message, harness.ownerOf(String(data.roomId)))
  }

  function checkRequests (): void {
    const { roomId, view: { requests } } = room as NonNullable<typeof room>
    if (requestsFor(requests, key, harness.roleOf(roomId, key)).length < requests.length) problem(`receives the requests of ${requests.join()}`)
  }

  function follow (event: Event): void {
    const { type, data } = event
    if (!room || data.roomId !== room.roomId) {
      problem(`receives ${JSON.stringify(event)} of another room`)
      return
    }
    const wrong = apply(room.view, event) || impossible(room.view)
    if (wrong !== '') problem(`${JSON.stringify(event)}: ${wrong}`)
    checkRequests()
    if (String(data.userId) !== key) return
    if (type === 'seat:updated') mayLoseSeat.before = false
    if (type === 'seat:cleared' && data.reason === 'left' && !mayLoseSeat.before && !mayLoseSeat.since) problem('lost the seat through an earlier request')
  }

  /** @param from when the connection broke, or a time shortly before that */
  function lost (from: number): void {
    client = undefined
    if (room) journal.gone(room.roomId, key, from, false)
    room = undefined
  }

  function depart (roomId: string): void {
    leaving = true
    journal.gone(roomId, key, Date.now(), true)
  }

  async function connected (): Promise<TestClient> {
    if (client) return client
    const chosen = pick(random, nodes.filter(({ up }) => up))
    chosen.coming++
    const mine = await connect(t, chosen.url, { token }).finally(() => { chosen.coming-- })
    mine.ws.on('message', (raw) => { if (client === mine) handle(JSON.parse(String(raw)) as Reply & Event) })
    mine.ws.on('close', () => { if (client === mine) lost(chosen.up ? Date.now() : chosen.downAt) })
    if (mine.ws.readyState !== mine.ws.OPEN) throw new Error('the connection was lost immediately')
    client = mine
    node = chosen
    return mine
  }

  function drop (): void {
    const { ws } = client ?? {}
    lost(Date.now())
    ws?.terminate()
  }

  return {
    key,
    random,
    room: () => room,
    inside: () => node?.up === true && !leaving ? room?.roomId : undefined,
    since: () => since,
    node: () => client && node,
    enter: async (roomId, seatCount) => until(async () => {
      const mine = await connected()
      if (room && room.roomId !== roomId) depart(room.roomId)
      const begin = performance.now()
      const { ok, error } = await mine.request('room:join', { roomId, seatCount })
      if (ok) {
        // If the backend takes longer than two seconds, the join returns the role from the server's own data.
        const isLate = performance.now() - begin > 1500
        if (replyRole !== harness.roleOf(roomId, key) && !isLate) problem(`has the wrong role ${replyRole}`)
        return
      }
      // A server that is shutting down rejects new connections. If the machine paused, the servers' leases have
      // expired, so the servers restore the rooms.
      const isRestoring = (error.details as { retryable?: boolean } | undefined)?.retryable === true
      if (error.code !== 'UNAVAILABLE' || (!isRestoring && nodes.every(({ up }) => up))) problem(`was rejected: ${JSON.stringify(error)}`)
      drop()
      throw new Error(`${key} is rejected: ${error.code}`)
    }, 60_000),
    async leave () {
      if (!client || !room) return
      depart(room.roomId)
      await client.ok('room:leave').then(() => { room = undefined }, (error: unknown) => { if (client) throw error })
    },
    drop,
    async ask (request) {
      const { roomId } = room ?? {}
      const sent = Date.now()
      const mine = client as TestClient
      const role = roomId === undefined ? 'member' : harness.roleOf(roomId, key)
      const entry = roomId === undefined ? undefined : journal.note(roomId, key, role, request)
      if (request.type === 'seat:leave') mayLoseSeat.since = true
      count(harness, 'commands')
      const outcome = await mine.request(request.type, request.data).then(
        ({ ok, data, error }): Outcome => ok ? { code: 'ok', data } : { code: error.code },
        (error: unknown): Outcome => {
          if (client === mine) problem(`${request.type} received no reply: ${String(error)}`)
          return { code: 'lost' }
        }
      )
      journal.close(entry, outcome.code)
      count(harness, outcome.code)
      if (outcome.code === 'lost') return outcome
      const target = harness.players.get(String(request.data.userId))
      const targetThere = roomId !== undefined && target?.inside() === roomId && target.since() < sent
      const wrong = objection(request, outcome, { by: key, role, roomId, ownerKey: harness.ownerOf(roomId ?? ''), targetThere })
      if (wrong !== '') problem(`${request.type} ${JSON.stringify(request.data)} returned ${JSON.stringify(outcome)}: ${wrong}`)
      return outcome
    }
  }
}
