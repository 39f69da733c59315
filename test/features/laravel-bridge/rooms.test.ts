import t from 'tap'
import type { RoomRecord } from '../../../plugins/store/types.ts'
import type { TestServer } from '../../support/build.ts'
import { build } from '../../support/build.ts'
import { startBackend } from '../../support/backend.ts'

const roleOf = async ({ app }: TestServer, roomId: string, userId: number) => {
  const [session] = app.sockets.ofUser(String(userId))
  return await app.rooms.roleOf(await app.store.getRoom(roomId) as RoomRecord, session as NonNullable<typeof session>)
}

t.test('creates a room that exists in the backend, with the owner from the backend', async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  backend.roles.set('7/43', 'admin')
  const server = await build(t, { env: backend.env })
  const [ada, bob, owner] = [await server.connect(43), await server.connect(44), await server.connect(42)]
  t.equal(await ada.fails('room:join', { roomId: '8' }), 'ROOM_NOT_FOUND')
  t.match(await ada.ok('room:join', { roomId: '7' }), { ownerId: 42, self: { role: 'admin' } })
  t.match(await bob.ok('room:join', { roomId: '7' }), { ownerId: 42, self: { role: 'member' } })
  t.match(await owner.ok('room:join', { roomId: '7' }), { self: { role: 'owner' } })
  t.equal(backend.calls('room'), 2, 'joining an existing room does not look up the room')
  t.equal(await roleOf(server, '7', 42), 'owner')
  t.equal(await roleOf(server, '7', 43), 'admin')
  t.equal(await server.app.rooms.ownerOf(await server.app.store.getRoom('7') as RoomRecord), 42)
})

t.test('rejects new rooms and grants no rights while the backend is down', async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 42)
  const server = await build(t, { env: backend.env })
  const [ada, owner] = [await server.connect(1), await server.connect(42)]
  await owner.ok('room:join', { roomId: '7' })
  await backend.stop()
  t.equal(await ada.fails('room:join', { roomId: '9' }), 'UNAVAILABLE')
  await t.rejects(roleOf(server, '7', 1), { code: 'UNAVAILABLE' })
  t.equal(await roleOf(server, '7', 42), 'owner')
  t.equal((await fetch(`${server.url}/readyz`)).status, 200, 'existing rooms keep working')
  await backend.start()
  t.equal(await roleOf(server, '7', 1), 'member')
})

t.test('is disabled without a backend; if enabled anyway, it fails and names the missing setting', async (t) => {
  const off = await build(t)
  t.match(off.app.features.list().find(({ name }) => name === 'laravel-bridge'), { state: 'disabled' })
  const forced = await build(t, { env: { FEATURES: 'auth,laravel-bridge' } })
  t.match(forced.app.features.list().find(({ name }) => name === 'laravel-bridge'), { state: 'failed', error: /needs LARAVEL_API_URL/ })
})
