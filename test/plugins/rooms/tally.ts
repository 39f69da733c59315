import type { Test } from 'tap'
import type { Decision } from '../../../plugins/rooms/room-state.ts'
import { build } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

// A document as simple as can be: it counts.

interface Tally { n: number }

/** A decision that counts one more, and tells it. */
const more = (state: Tally | undefined): Decision<Tally, number> => {
  const n = (state?.n ?? 0) + 1
  return { state: { n }, events: [{ type: 'tally', data: { n } }], result: n }
}

/** A server whose rooms have a tally: in the reply to a join, and told when it changes. */
export async function buildTally (t: Test, env: Record<string, string>) {
  const server = await build(t, { env: { FEATURES: 'auth', ...env } })
  const { hooks, rooms } = server.app
  const { roomState } = rooms
  hooks.on('room:join', ({ roomId }) => ({ tally: roomState.peek<Tally>(roomId, 'tally')?.n ?? 0 }))
  hooks.on('room:stateMissed', (_room, name, _from, to, tell) => {
    if (name === 'tally') tell([{ type: 'tally:missed', data: { n: (to as Tally | undefined)?.n ?? 0 } }])
  })
  return {
    server,
    /** Counts one more. @returns what it came to */
    count: (roomId = 'r1') => roomState.change<Tally, number>(roomId, 'tally', more),
    peek: (roomId = 'r1') => roomState.peek<Tally>(roomId, 'tally')?.n ?? 0,
    connect: server.connect
  }
}

/** What a member knows of the tally: from the join's reply and what it was told since. */
export async function follow (client: TestClient, roomId = 'r1') {
  const from = client.events.length
  const { tally } = await client.ok('room:join', { roomId })
  const told = () => client.events.slice(from).filter(({ type }) => type.startsWith('tally'))
  const numbers = () => told().map(({ data }) => Number(data.n))
  return {
    client,
    first: Number(tally),
    numbers,
    missed: () => told().filter(({ type }) => type === 'tally:missed').length,
    known: () => numbers().at(-1) ?? Number(tally)
  }
}

export type Follower = Awaited<ReturnType<typeof follow>>
