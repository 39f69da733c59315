import type { Test } from 'tap'
import { until } from '../../support/retry.ts'
import { createPlayer } from './model-player.ts'
import type { Player } from './model-player.ts'
import { pick, randomFrom, randomRequest } from './model-requests.ts'
import type { Random } from './model-requests.ts'
import { oneAfterTheOther } from './model-sequence.ts'
import { adminSeats, asked, asker, buildHarness, count, everyone, graceMs, idsOf, membersOf, open, patch, convergenceMs, rooms, wrongRequests } from './model-harness.ts'
import type { Harness, HarnessOptions } from './model-harness.ts'
import { plain, viewFrom } from './view.ts'
import type { SeatsReply, View } from './view.ts'

// A model test over WebSockets: users in three rooms send random requests
// concurrently and lose connections, while servers are killed.

export interface ModelOptions extends HarnessOptions {
  /** Minimum number of requests. */
  commands: number
  /** Number of times a server is killed. Graceful restarts of servers are just as frequent as kills. */
  restarts: number
  /** Number of users; 30 by default. */
  users?: number
  /** True if users wait while a restart is slow, so that they do not send more than `commands` requests. */
  paced?: boolean
}

const roomIds = idsOf(0)

export async function seatModel (t: Test, { commands, restarts, users = 30, paced = false, ...options }: ModelOptions): Promise<void> {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  const begin = performance.now()
  const harness = await buildHarness(t, options)
  const random = randomFrom(seed)
  // Some user ids are numbers and some are strings, as in real tokens.
  for (let i = 1; i <= users; i++) harness.players.set(String(i), createPlayer(harness, i % 3 === 0 ? String(i) : i, seed + i))

  for (let first = rooms; asked(harness) < commands / 4 && harness.problems.length === 0; first += rooms) {
    await oneAfterTheOther(harness, random, first, commands / 4)
  }
  await open(harness, random, roomIds, [8, 4, 15])
  await allAtOnce(harness, random, { commands, restarts, paced })
  await settle(harness, random, 'in the end,')
  await stayAway(harness, random, false)
  if (restarts > 1) await stayAway(harness, random, true)

  for (const node of harness.nodes) node.check()
  t.same([...harness.problems, ...harness.journal.unexplained()].slice(0, 20), [], 'no client received an unexpected message')
  t.ok(asked(harness) >= commands, `${asked(harness)} commands`)
  t.comment(`SEED=${seed}: in ${Math.round((performance.now() - begin) / 1000)} s ${JSON.stringify(Object.fromEntries([...harness.counts].sort()))}`)
}

/** Makes all users send requests concurrently and independently while servers are restarted. */
async function allAtOnce (harness: Harness, random: Random, { commands, restarts, paced }: Pick<ModelOptions, 'commands' | 'restarts'> & { paced: boolean }): Promise<void> {
  const failed = () => harness.problems.length > 0
  const seen = new Map<string, { at: number, holders: Set<string> }>()
  let restarting = true
  let playing = true
  /** The number of requests after which the users wait. */
  let allowed = Infinity
  const over = () => failed() || (asked(harness) >= commands && !restarting)

  async function restart (): Promise<void> {
    // Spreads the restarts evenly over the requests, so that all servers are up for a while in between.
    const asMany = (commands - asked(harness)) / (2 * restarts + 1)
    for (let i = 0; i <= 2 * restarts && !failed(); i++) {
      const from = asked(harness)
      // Half of the requests of each step are sent during the restart.
      if (paced) allowed = from + 2 * asMany
      await until(() => failed() || asked(harness) >= from + asMany, 3_600_000)
      if (i === 2 * restarts) return
      const signal = i % 2 === 0 ? 'SIGKILL' : 'SIGTERM'
      count(harness, `restarts ${signal}`)
      await pick(random, harness.nodes.filter(({ isProcess }) => signal === 'SIGTERM' || isProcess)).restart(signal)
    }
  }
  /** Polls the rooms through the admin API, one after another, until the users stop. */
  const look = () => until(async () => {
    const oldest = roomIds.reduce((a, b) => (seen.get(a)?.at ?? 0) <= (seen.get(b)?.at ?? 0) ? a : b)
    const { seats, at } = await adminSeats(harness, random, oldest)
    seen.set(oldest, { at, holders: new Set(seats.map(({ userId }) => String(userId))) })
    return !playing
  }, 3_600_000)
  /** Waits until an absent player's seat is free. */
  const awayFor = ({ key }: Player, roomId: string, from: number) => until(() => {
    const { at = 0, holders } = seen.get(roomId) ?? {}
    return failed() || (at > from + graceMs && holders?.has(key) === false)
  }, convergenceMs)

  async function play (player: Player): Promise<void> {
    const { random } = player
    let roomId = player.room()?.roomId ?? ''
    while (!over()) {
      if (asked(harness) >= allowed) await until(() => over() || asked(harness) < allowed, 3_600_000)
      const dice = random()
      if (!player.room()) {
        // The player did not disconnect, so a server must have closed the connection.
        count(harness, 'disconnects by a server')
        if (dice < 0.15) await awayFor(player, roomId, Date.now())
        await player.enter(roomId)
      } else if (dice < 0.025) {
        player.drop()
        count(harness, dice < 0.005 ? 'absences' : 'disconnects')
        if (dice < 0.005) await awayFor(player, roomId, Date.now())
        await player.enter(roomId)
      } else if (dice < 0.05) {
        count(harness, 'moves')
        if (dice < 0.035) await player.leave()
        else roomId = pick(random, roomIds)
        await player.enter(roomId)
      } else if (dice < 0.055) {
        await player.enter(roomId)
      } else if (dice < 0.25 && harness.ownerOf(roomId) === player.key) {
        // Owners sometimes change the seat count through the admin API.
        await patch(harness, random, roomId, 2 + Math.floor(random() * 13))
      } else {
        const several = 1 + Math.floor(random() ** 2 * 3)
        await Promise.all(Array.from({ length: several }, () => player.ask(randomRequest(random, asker(harness, player, roomIds)))))
      }
    }
  }

  await Promise.all([
    restart().finally(() => {
      restarting = false
      allowed = Infinity
    }),
    Promise.all(everyone(harness).map((player) => play(player).catch((error: unknown) => harness.problems.push(`${player.key} gave up: ${String(error)}`)))).finally(() => { playing = false }),
    look()
  ])
}

/** Waits until all users, a new member and every server's admin API show the same state of each room. */
async function settle (harness: Harness, random: Random, when: string): Promise<void> {
  const { t, nodes } = harness
  await Promise.all(everyone(harness).map((player) => player.room() ?? player.enter(pick(random, roomIds))))
  const visitor = createPlayer(harness, 'visitor', 1)
  for (const roomId of roomIds) {
    await visitor.enter(roomId)
    const members = [...membersOf(harness, roomId), visitor]
    const text = (view: View) => JSON.stringify(plain(view))
    const same = await until(async () => {
      const views = members.map((player) => JSON.stringify(plain(player.room()?.view ?? viewFrom({ seatCount: 0, seats: [], lockedSeats: [] }))))
      if (new Set(views).size > 1) throw new Error(`Users have different views of ${roomId}: ${views.join('\n')}`)
      const pages = await Promise.all(nodes.map(async ({ page }) => viewFrom((await page<SeatsReply>(`/admin/rooms/${roomId}/seats`)).body)))
      const { body: { participants } } = await pick(random, nodes).page<{ participants: { userId: unknown }[] }>(`/admin/rooms/${roomId}`)
      const inside = participants.map(({ userId }) => String(userId)).sort().join()
      const wanted = members.map(({ key }) => key).sort().join()
      if (inside !== wanted) throw new Error(`${roomId} has the members ${inside} instead of ${wanted}`)
      const all = new Set([...views, ...pages.map(text)])
      if (all.size > 1) throw new Error(`Servers have different views of ${roomId}: ${[...all].join('\n')}`)
      const wrong = wrongRequests(harness, roomId, pages[0]?.requests ?? [], pages)
      if (wrong !== '') throw new Error(wrong)
      return views.length + pages.length
    }, convergenceMs)
    t.equal(same, members.length + nodes.length, `${when} room ${roomId} is identical for ${members.length} users and ${nodes.length} admins`)
  }
  await visitor.leave()
  visitor.drop()
}

/**
 * Disconnects many users. Some users return in time and keep their seats; the others do not return, and their seats are
 * cleared.
 *
 * @param byServer if true, kills a server; if false, the clients disconnect
 */
async function stayAway (harness: Harness, random: Random, byServer: boolean): Promise<void> {
  const { t } = harness
  const what = byServer ? 'a server dies' : 'users disconnect'
  // Fills all seats.
  for (const roomId of roomIds) {
    const owner = harness.players.get(harness.ownerOf(roomId)) as Player
    if (owner.room()?.roomId !== roomId) await owner.enter(roomId)
    await patch(harness, random, roomId, 15)
    await until(() => owner.room()?.view.seatCount === 15)
    for (const seatIndex of owner.room()?.view.locked ?? []) await owner.ask({ type: 'seat:unlock', data: { seatIndex } })
    const { seats = new Map<number, { userId: unknown }>() } = owner.room()?.view ?? {}
    const holders = [...seats.values()].map(({ userId }) => String(userId))
    const free = Array.from({ length: 15 }, (_, i) => i).filter((i) => !seats.has(i))
    await Promise.all(membersOf(harness, roomId).filter(({ key }) => !holders.includes(key)).slice(0, free.length)
      .map((player, i) => player.ask({ type: 'seat:take', data: { seatIndex: free[i] } })))
  }
  await settle(harness, random, `before ${what},`)
  const own = (player: Player) => [...player.room()?.view.seats ?? []].find(([, { userId }]) => String(userId) === player.key)?.[0]
  const look = async (roomId: string, { key }: Player) => {
    const { at, seats } = await adminSeats(harness, random, roomId)
    return { at, seat: seats.find(({ userId }) => String(userId) === key) as { seatIndex: number, awayUntil: number | null } | undefined }
  }

  const node = pick(random, harness.nodes)
  const gone = byServer ? everyone(harness).filter((player) => player.node() === node) : everyone(harness).filter((_, i) => i % 4 !== 0)
  const before = gone.map((player) => ({ player, roomId: player.room()?.roomId ?? '', seatIndex: own(player) }))
  const from = Date.now()
  const restarted = byServer ? node.restart('SIGKILL') : undefined
  const ends = await Promise.all(before.filter(({ seatIndex }) => seatIndex !== undefined).map(async ({ player, roomId, seatIndex }, i) => {
    if (byServer) await until(() => player.node() === undefined)
    else player.drop()
    if (i % 2 === 0) {
      await player.enter(roomId)
      // On a busy machine, the user may return too late.
      const inTime = Date.now() < from + graceMs
      // Once the server detects that the user has returned, the seat is occupied instead of reserved.
      const kept = await until(async () => {
        const { at, seat } = await look(roomId, player)
        return at > from + graceMs && (seat?.awayUntil ?? null) === null ? seat?.seatIndex ?? -1 : false
      }, convergenceMs)
      if (kept === seatIndex) return 'kept'
      return inTime ? `${player.key} was back and has lost seat ${seatIndex}` : 'late'
    }
    await until(async () => (await look(roomId, player)).seat === undefined, convergenceMs)
    return Date.now() >= from + graceMs ? 'cleared' : `the seat of ${player.key} was cleared early`
  }))
  await restarted
  await settle(harness, random, `when ${what},`)
  const good = ['kept', 'cleared', 'late']
  const [kept, cleared, late] = good.map((end) => ends.filter((other) => other === end).length)
  t.same(ends.filter((end) => !good.includes(end)), [], `after ${what}, ${kept} seats are kept and ${cleared} cleared; ${late} users were late`)
}
