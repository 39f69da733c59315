import t from 'tap'
import { Connection } from '../../client/index.ts'
import type { ConnectionEvents } from '../../client/connection.ts'
import { Members } from '../../client/members.ts'

const profile = (userId: number) => ({ userId, id: userId, name: `User ${userId}` })
const roomId = 'r1'

/** A connection without a server. Tests emit events on it. */
class FakeConnection extends Connection {
  override emit<E extends keyof ConnectionEvents> (event: E, ...args: ConnectionEvents[E]): void {
    super.emit(event, ...args)
  }
}

/**
 * Creates the member list of a room with five members, only one of whom is in the join reply. After `page()` requests a
 * page of members, the request is pending until the test calls `arrive` or `reject`.
 */
function enter () {
  const connection = new FakeConnection({ url: 'http://127.0.0.1:1', token: () => '' })
  const members = new Members(connection)
  const start = (roomId: string) => members.start({ roomId, self: { userId: 1, role: 'owner' }, ownerId: 1, title: null, topic: null, isLocked: false, admins: [], participantCount: 5, participants: [profile(1)] })
  start(roomId)
  const page = () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let apply: ((ids: number[]) => void) | undefined
    const added = members.add((give) => {
      apply = (ids) => give(ids.map(profile))
      return promise
    })
    return {
      reject,
      async arrive (...ids: number[]) {
        apply?.(ids)
        resolve()
        await added
      },
      added
    }
  }
  return { connection, members, start, page, ids: () => members.profiles.map(({ userId }) => userId) }
}

t.test('a page adds the members that are not in the list yet', async (t) => {
  const { page, ids, members } = enter()
  await page().arrive(1, 2, 3)
  t.same(ids(), [1, 2, 3])
  t.equal(members.count, 5, "the count is the server's")
})

t.test('does not add a member who leaves before the page arrives', async (t) => {
  const { connection, page, ids } = enter()
  const first = page()
  connection.emit('room:userLeft', { roomId, userId: 2 })
  await first.arrive(2, 3)
  t.same(ids(), [1, 3])
  await page().arrive(2)
  t.same(ids(), [1, 3, 2], 'a later page has the newer state')
})

t.test('handles two concurrent page requests', async (t) => {
  const { connection, page, ids } = enter()
  const first = page()
  const second = page()
  connection.emit('room:presence', { roomId, count: 4, joined: [], left: [2] })
  await second.arrive(2, 3)
  connection.emit('room:userLeft', { roomId, userId: 4 })
  await first.arrive(2, 3, 4)
  t.same(ids(), [1, 3])
})

t.test('keeps a member who returns before the page arrives', async (t) => {
  const { connection, page, ids } = enter()
  const first = page()
  connection.emit('room:userLeft', { roomId, userId: 2 })
  connection.emit('room:userJoined', { roomId, userId: 2, user: profile(2) })
  await first.arrive(2)
  t.same(ids(), [1, 2])
})

t.test('ignores a page of members of a previous room', async (t) => {
  const { members, start, page, ids } = enter()
  const first = page()
  start('r2')
  await first.arrive(2)
  t.same(ids(), [1])
  const second = page()
  members.stop()
  await second.arrive(2)
  t.same(ids(), [])
})

t.test('a page that fails to load adds no members', async (t) => {
  const { page, ids } = enter()
  const first = page()
  first.reject(new Error('lost'))
  await t.rejects(first.added, { message: 'lost' })
  t.same(ids(), [1])
})

t.test('an event about an earlier connection does not remove the client\'s own user', async (t) => {
  const { connection, ids, members } = enter()
  connection.emit('room:userLeft', { roomId, userId: 1 })
  connection.emit('room:presence', { roomId, count: 5, joined: [], left: [1] })
  t.same(ids(), [1])
  t.equal(members.count, 5)
})

t.test('ignores the leave of a user who left just before the join', async (t) => {
  const { connection, page, ids, members } = enter()
  await page().arrive(2, 3, 4, 5)
  connection.emit('room:userLeft', { roomId, userId: 9 })
  t.same([members.count, ids().length], [5, 5], 'the join reply did not count the user')
  connection.emit('room:userLeft', { roomId, userId: 5 })
  t.same([members.count, ids().length], [4, 4])
})
