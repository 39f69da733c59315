import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import { startRedis } from '../../support/redis.ts'
import { createJournal } from './model-journal.ts'
import type { Journal } from './model-journal.ts'
import { startNode } from './model-nodes.ts'
import type { Node } from './model-nodes.ts'
import { impossibleReply } from './model-player.ts'
import type { Player } from './model-player.ts'
import { pick } from './model-requests.ts'
import type { Asker, Random } from './model-requests.ts'
import { requestsFor } from './model-rules.ts'
import type { Role } from './model-rules.ts'
import { viewFrom } from './view.ts'
import type { SeatsReply, View } from './view.ts'

// The state that all users of the model share: the servers, the rooms and the expected state.

export interface Harness {
  t: Test
  nodes: readonly Node[]
  journal: Journal
  problems: string[]
  roleOf (roomId: string, user: string): Role
  ownerOf (roomId: string): string
  /** The roles in the user's token. */
  rolesOf (user: string): string[]
  /** Number of occurrences of each outcome (`ok`, an error code or `lost`) and of some other events. */
  counts: Map<string, number>
  players: Map<string, Player>
}

export interface HarnessOptions {
  store: 'redis' | 'memory'
  /**
   * True if the backend determines each user's role per room. Without a backend, a room's creator is the owner, and
   * some tokens grant the admin role.
   */
  backend: boolean
  /**
   * Number of servers that run in separate processes and can be killed. The other servers run in this process. Default:
   * all servers run in separate processes.
   */
  processes?: number
  /** True if the lease of a killed server ends immediately instead of after 10 s. */
  endsLeases?: boolean
}

export const rooms = 3
export const graceMs = 2000
const inviteMs = 30_000
/**
 * Maximum time until all clients have the same view of a room, in milliseconds. Other servers detect a killed server
 * after 10 s.
 */
export const convergenceMs = 60_000

/** Returns a user's role. Each room has one owner and a few admins; user 8 is an admin of every room. */
function roleIn (roomId: string, user: string) {
  const number = (Number(roomId) - 1) % rooms + 1
  if (Number(user) === number) return 'owner' as const
  return Number(user) === rooms + number || Number(user) === rooms + number + 1 || user === '8' ? 'admin' as const : 'member' as const
}
const adminsByToken = ['5', '6', '8']

export async function buildHarness (t: Test, { store, backend: withBackend, processes = 2, endsLeases = false }: HarnessOptions): Promise<Harness> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-seats-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const redis = store === 'redis' ? await startRedis(t) : undefined
  const backend = withBackend ? await startBackend(t) : undefined
  const env = {
    FEATURES: backend ? 'auth,seats,laravel-bridge' : 'auth,seats',
    SEAT_GRACE_SECONDS: String(graceMs / 1000),
    WS_MESSAGES_PER_SECOND: '10000',
    WS_MESSAGES_BURST: '10000',
    ...backend?.env,
    ...(redis ? { REDIS_URL: redis.url } : {})
  }
  const nodes = await Promise.all(Array.from({ length: redis ? 2 : 1 }, (_, i) => startNode(t, folder, i, env, { isProcess: i < processes, endsLease: endsLeases })))
  const ownerOf = (roomId: string) => String((Number(roomId) - 1) % rooms + 1)
  if (backend) {
    backend.everyRoom = (roomId) => Number(ownerOf(roomId))
    // The backend returns the owner with the room, so set only the roles of other users. Users without a role are
    // ordinary members.
    for (let room = 1; room <= 1000; room++) {
      for (let user = 4; user <= 10; user++) backend.roles.set(`${room}/${user}`, roleIn(String(room), String(user)))
    }
  }
  return {
    t,
    nodes,
    journal: createJournal(graceMs, inviteMs),
    problems: [],
    ownerOf,
    roleOf: backend ? roleIn : (roomId, user) => user === ownerOf(roomId) ? 'owner' : adminsByToken.includes(user) ? 'admin' : 'member',
    rolesOf: (user) => !backend && adminsByToken.includes(user) ? ['admin'] : [],
    counts: new Map(),
    players: new Map()
  }
}

export const idsOf = (first: number) => Array.from({ length: rooms }, (_, i) => String(first + i + 1))
export const everyone = ({ players }: Harness) => [...players.values()]
export const membersOf = (harness: Harness, roomId: string) => everyone(harness).filter((player) => player.room()?.roomId === roomId)

export const count = ({ counts }: Harness, what: string): void => { counts.set(what, (counts.get(what) ?? 0) + 1) }
export const asked = ({ counts }: Harness): number => counts.get('commands') ?? 0

/** Makes the owners create the rooms and every other user join a room. */
export async function open (harness: Harness, random: Random, roomIds: readonly string[], seatCounts: readonly number[]): Promise<void> {
  await Promise.all(roomIds.map((roomId, i) => harness.players.get(harness.ownerOf(roomId))?.enter(roomId, seatCounts[i])))
  await Promise.all(everyone(harness).slice(roomIds.length).map((player) => player.enter(pick(random, roomIds))))
}

/**
 * Describes the first user who sees the wrong seat requests.
 *
 * @returns the description; an empty string if all users see the right requests
 */
export function wrongRequests (harness: Harness, roomId: string, requests: readonly string[], pages: readonly View[]): string {
  const seen = [
    ...membersOf(harness, roomId).map(({ key, room }) => ({ who: key, sees: room()?.view.requests ?? [], wanted: requestsFor(requests, key, harness.roleOf(roomId, key)) })),
    ...pages.map((page) => ({ who: 'the admin', sees: page.requests, wanted: requests }))
  ]
  const wrong = seen.find(({ sees, wanted }) => sees.join() !== wanted.join())
  return wrong ? `In ${roomId}, ${wrong.who} sees the requests ${wrong.sees.join()} instead of ${wrong.wanted.join()}` : ''
}

/**
 * Checks the seats in a recent response of the admin API.
 *
 * @returns that response
 */
export async function adminSeats (harness: Harness, random: Random, roomId: string): Promise<SeatsReply & { at: number }> {
  const from = Date.now()
  const { status, body, at } = await pick(random, harness.nodes.filter(({ up }) => up)).page<SeatsReply>(`/admin/rooms/${roomId}/seats`)
  if (status !== 200) throw new Error(`The admin API returned ${status} ${JSON.stringify(body)}`)
  const wrong = impossibleReply(body)
  if (wrong !== '') harness.problems.push(`the admin's page of ${roomId}: ${wrong}`)
  if (at >= from) count(harness, 'samples')
  return { ...body, at }
}

export async function patch (harness: Harness, random: Random, roomId: string, seatCount: number): Promise<boolean> {
  const entry = harness.journal.noteResize(roomId, seatCount)
  count(harness, 'commands')
  const node = pick(random, harness.nodes.filter(({ up }) => up))
  const code = await node.changeSeats(roomId, seatCount).then(({ status, body }) => {
    if (status === 200) return 'ok'
    if (node.up) harness.problems.push(`the number of seats could not be changed: ${status} ${JSON.stringify(body)}`)
    return 'refused'
  }, () => 'lost')
  harness.journal.close(entry, code)
  count(harness, `resize ${code}`)
  return code === 'ok'
}

export function asker (harness: Harness, player: Player, roomIds: readonly string[]): Asker {
  const { roomId, view } = player.room() ?? { roomId: '', view: viewFrom({ seatCount: 15, seats: [], lockedSeats: [] }) }
  return { key: player.key, role: harness.roleOf(roomId, player.key), view, roomId, roomIds, people: [...harness.players.keys()], mates: membersOf(harness, roomId).map(({ key }) => key) }
}
