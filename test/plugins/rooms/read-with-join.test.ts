import t from 'tap'
import type { Session } from '../../../plugins/connections/session.ts'
import { readWithJoin } from '../../../plugins/rooms/read-with-join.ts'
import type { LocalRoom } from '../../../plugins/rooms/node-rooms.ts'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

const shared = globalThis as unknown as Record<string, unknown>

t.test('a read is sent with the join if the room is open and has members on this server; a failed join does not affect later joins', async (t) => {
  const folder = featureFolder(t)
  const seen: string[] = []
  shared.flyliveReads = seen
  folder.write('reads', {
    'index.ts': `import { defineFeature, readWithJoin, z } from 'flylive-audio-server/feature'
export default defineFeature(async function reads (app) {
  const readOf = readWithJoin(app.hooks, async ({ roomId }) => {
    globalThis.flyliveReads.push('read')
    return globalThis.flyliveReads.length
  })
  app.messages.adds('room:join', z.object({ reads: z.int() }))
  app.hooks.on('room:join', async (room, session) => {
    globalThis.flyliveReads.push('joined')
    return { reads: await readOf(room, session) }
  })
}, { name: 'reads', dependencies: ['rooms'] })
`
  })
  const server = await build(t, { env: { FEATURES: 'auth,reads', FEATURES_PATH: folder.path, MAX_CLIENTS_PER_ROOM: '2' } })
  const [ada, bob, eve] = [await server.connect(1), await server.connect(2), await server.connect(3)]
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { reads: 2 })
  t.same(seen, ['joined', 'read'])
  seen.length = 0
  t.match(await bob.ok('room:join', { roomId: 'r1' }), { reads: 1 })
  t.same(seen, ['read', 'joined'])
  seen.length = 0
  t.equal(await eve.fails('room:join', { roomId: 'r1' }), 'ROOM_FULL')
  t.same(seen, ['read'])
  await bob.ok('room:leave')
  await ada.ok('room:leave')
  t.match(await bob.ok('room:join', { roomId: 'r1' }), { reads: 3 })
  t.same(seen, ['read', 'joined', 'read'])
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { reads: 4 })
  seen.length = 0
  t.equal(await eve.fails('room:join', { roomId: 'r1' }), 'ROOM_FULL')
  await bob.ok('room:leave')
  await ada.ok('room:leave')
  t.match(await eve.ok('room:join', { roomId: 'r1' }), { reads: 3 }, 'the read of the failed join is not used')
  t.same(seen, ['read', 'joined', 'read'])
  await eve.ok('room:leave')

  await ada.ok('room:join', { roomId: 'r3' })
  await bob.ok('room:join', { roomId: 'r3' })
  seen.length = 0
  t.equal(await eve.fails('room:join', { roomId: 'r3' }), 'ROOM_FULL')
  await bob.ok('room:leave')
  t.match(await eve.ok('room:join', { roomId: 'r3' }), { reads: 2 })
  t.same(seen, ['read', 'read', 'joined'])

  await ada.ok('room:join', { roomId: 'r2', pin: '1234' })
  seen.length = 0
  t.equal(await bob.fails('room:join', { roomId: 'r2' }), 'PIN_REQUIRED')
  t.same(seen, [], 'joins of locked rooms often fail')
  t.match(await bob.ok('room:join', { roomId: 'r2', pin: '1234' }), { reads: 2 })
  t.same(seen, ['joined', 'read'])
})

t.test('an early read is used only once, and not if the room was recreated; if the read fails, only the handler receives the error', async (t) => {
  let joining: (room: LocalRoom, session: Session, mayRead: boolean) => void = () => {}
  let count = 0
  const hooks = { on: (_name: string, fn: unknown) => { joining = fn as typeof joining } }
  const read = readWithJoin(hooks as Parameters<typeof readWithJoin>[0], async ({ createdAt }) => {
    if (createdAt === 3) throw new Error('no store')
    return `${createdAt}.${++count}`
  })
  const session = {} as Session
  const room = (createdAt: number) => ({ record: { createdAt } }) as LocalRoom
  joining(room(1), session, true)
  t.equal(await read(room(1), session), '1.1')
  t.equal(await read(room(1), session), '1.2')
  joining(room(1), session, true)
  t.equal(await read(room(2), session), '2.4')
  joining(room(2), session, true)
  joining(room(2), session, false)
  t.equal(await read(room(2), session), '2.6', 'the read of a failed join is not used')
  joining(room(3), session, true)
  await t.rejects(read(room(3), session), { message: 'no store' })
})
