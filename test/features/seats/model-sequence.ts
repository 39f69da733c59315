import { until } from '../../support/retry.ts'
import { pick, randomRequest } from './model-requests.ts'
import type { Random } from './model-requests.ts'
import { depart, judge, newTable, resize, tableView } from './model-rules.ts'
import type { Table } from './model-rules.ts'
import { adminSeats, asked, asker, count, everyone, idsOf, membersOf, open, convergenceMs, patch, wrongRequests } from './model-harness.ts'
import type { Harness } from './model-harness.ts'
import { plain, viewFrom } from './view.ts'

/**
 * Maximum number of requests, and a time limit in milliseconds. The time limit is shorter than an invite's lifetime.
 */
const [chapter, chapterMs] = [400, 20_000]

/** Sends one request at a time and compares each outcome with the predicted outcome. */
export async function oneAfterTheOther (harness: Harness, random: Random, first: number, upTo: number): Promise<void> {
  const roomIds = idsOf(first)
  const tables = new Map(roomIds.map((roomId) => [roomId, newTable(roomId, harness.ownerOf(roomId), 3 + Math.floor(random() * 8))]))
  const tableOf = (roomId: string) => tables.get(roomId) as Table
  await open(harness, random, roomIds, roomIds.map((roomId) => tableOf(roomId).seatCount))
  for (const player of everyone(harness)) tableOf(player.room()?.roomId ?? '').members.add(player.key)
  const sameForAll = (roomId: string, admin = false) => until(async () => {
    const wanted = JSON.stringify(plain(tableView(tableOf(roomId))))
    const page = admin ? [viewFrom(await adminSeats(harness, random, roomId))] : []
    const seen = [...membersOf(harness, roomId).map(({ room }) => room()?.view), ...page]
    const other = seen.map((view) => view && JSON.stringify(plain(view))).find((text) => text !== wanted)
    if (other !== undefined) throw new Error(`Expected ${wanted} in ${roomId}, received ${other}`)
    const wrong = wrongRequests(harness, roomId, tableOf(roomId).requests, page)
    if (wrong !== '') throw new Error(wrong)
  }, convergenceMs)

  const end = Date.now() + chapterMs
  for (let i = 0; i < chapter && asked(harness) < upTo && Date.now() < end; i++) {
    const player = pick(random, everyone(harness))
    const { roomId } = player.room() ?? { roomId: '' }
    const table = tables.get(roomId)
    const dice = random()
    if (!table) {
      const { code } = await player.ask(randomRequest(random, asker(harness, player, roomIds)))
      if (code !== 'NOT_IN_ROOM' && code !== 'VALIDATION_FAILED') harness.problems.push(`${player.key} is in no room, but the request returned ${code}`)
      const to = pick(random, roomIds)
      await player.enter(to)
      tableOf(to).members.add(player.key)
    } else if (dice < 0.02) {
      player.drop()
      count(harness, 'disconnects')
      await player.enter(roomId)
    } else if (dice < 0.03) {
      await player.enter(roomId)
    } else if (dice < 0.05) {
      const to = pick(random, roomIds.filter((id) => id !== roomId))
      await (dice < 0.035 ? player.leave() : player.enter(to))
      depart(table, player.key)
      if (dice >= 0.035) tableOf(to).members.add(player.key)
      // The reply confirms that the user has left, but the seat is released only afterwards.
      await sameForAll(roomId)
    } else if (dice < 0.06) {
      const seatCount = 2 + Math.floor(random() * 13)
      if (await patch(harness, random, roomId, seatCount)) resize(table, seatCount)
    } else {
      const request = randomRequest(random, asker(harness, player, roomIds))
      const predicted = judge(table, player.key, harness.roleOf(roomId, player.key), request)
      const { code, data } = await player.ask(request)
      const got = JSON.stringify({ code, ...(data ? { data: data.userId === undefined ? data : { userId: String(data.userId) } } : {}) })
      if (got !== JSON.stringify(predicted)) harness.problems.push(`${player.key} sent ${JSON.stringify(request)} in ${JSON.stringify(plain(tableView(table)))} and received ${got} instead of ${JSON.stringify(predicted)}`)
      count(harness, 'predicted')
    }
    if (harness.problems.length > 0) return
  }
  await Promise.all(roomIds.map((roomId) => sameForAll(roomId, true)))
}
