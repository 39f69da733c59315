import type { Test } from 'tap'
import { z } from 'zod'
import type { Decision } from '../../../plugins/rooms/room-state.ts'
import { build, shortTimings } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

export const tallySchema = z.object({ n: z.int() })
export type Tally = z.output<typeof tallySchema>

const more = (state: Tally | undefined): Decision<Tally, number> => {
  const n = (state?.n ?? 0) + 1
  return { state: { n }, events: [{ type: 'tally', data: { n } }], result: n }
}

/**
 * Starts a server whose rooms have a counter, the tally. Members receive the tally in their join reply, and changes of
 * the tally as events.
 */
export async function buildTally (t: Test, env: Record<string, string>) {
  const server = await build(t, { env: { FEATURES: 'auth', ...env }, timings: shortTimings })
  const { hooks, rooms } = server.app
  const tally = rooms.roomState.define('tally', tallySchema)
  hooks.on('room:join', ({ roomId }) => ({ tally: tally.peek(roomId)?.n ?? 0 }))
  tally.onMissed((_room, _from, to) => [{ type: 'tally:missed', data: { n: to?.n ?? 0 } }])
  return {
    server,
    tally,
    /**
     * Increments the tally.
     *
     * @returns the new count
     */
    count: (roomId = 'r1') => tally.change(roomId, more),
    peek: (roomId = 'r1') => tally.peek(roomId)?.n ?? 0,
    connect: server.connect
  }
}

/** Joins a room and tracks the tally from the join reply and later events. */
export async function follow (client: TestClient, roomId = 'r1') {
  const from = client.events.length
  const { tally } = await client.ok('room:join', { roomId })
  const tallies = () => client.events.slice(from).filter(({ type }) => type.startsWith('tally'))
  const numbers = () => tallies().map(({ data }) => Number(data.n))
  return {
    client,
    first: Number(tally),
    numbers,
    missed: () => tallies().filter(({ type }) => type === 'tally:missed').length,
    known: () => numbers().at(-1) ?? Number(tally)
  }
}

export type Follower = Awaited<ReturnType<typeof follow>>
