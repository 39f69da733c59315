import type { Test } from 'tap'
import { startBackend } from '../support/backend.ts'
import type { Backend } from '../support/backend.ts'
import { build } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import type { TestClient } from '../support/client.ts'
import { until } from '../support/retry.ts'

export interface Life {
  server: TestServer
  backend: Backend
  /** The room's owner according to the backend. */
  owner: TestClient
  speaker: TestClient
  /** An admin whose role the server has not looked up yet. */
  admin: TestClient
  roomId: string
}

/** @param away stops the backend, which makes role lookups fail */
export async function liveRoom (t: Test, env: Record<string, string>, away: (backend: Backend) => unknown): Promise<Life> {
  const backend = await startBackend(t)
  const roomId = '7'
  backend.rooms.set(roomId, 1)
  backend.roles.set('7/3', 'admin')
  const server = await build(t, { env: { ...backend.env, ...env } })
  const [owner, speaker] = [await server.connect(1), await server.connect(2)]
  for (const client of [owner, speaker]) await client.ok('room:join', { roomId })
  await speaker.ok('seat:take', { seatIndex: 2 })
  await owner.ok('seat:lock', { seatIndex: 5 })
  await until(() => backend.statuses.some(({ status }) => status.participant_count === 2))
  await away(backend)
  const admin = await server.connect(3)
  await admin.ok('room:join', { roomId })
  return { server, backend, owner, speaker, admin, roomId }
}

/** Checks the behaviour while the backend is down. May be called repeatedly. */
export async function goesOn (t: Test, { server, owner, speaker, admin, roomId }: Life, round: number): Promise<void> {
  await speaker.ok('seat:take', { seatIndex: round % 2 })
  t.match(await owner.event('seat:updated', ({ seatIndex }) => seatIndex === round % 2), { userId: 2 }, 'members change seats')
  await speaker.ok('chat:message', { content: `round ${round}` })
  t.match(await owner.event('chat:message', ({ content }) => content === `round ${round}`), { userId: 2 }, 'members chat')
  const { transactionId } = await speaker.ok('gift:send', { giftId: 1, recipientId: 1 })
  t.match(await owner.event('gift:received', (data) => data.transactionId === transactionId), { senderId: 2 }, 'members send gifts')
  await owner.ok(round % 2 === 0 ? 'seat:unlock' : 'seat:lock', { seatIndex: 5 })
  t.match(await speaker.event('seat:locked', ({ isLocked }) => isLocked === (round % 2 !== 0)), { seatIndex: 5 }, 'the owner acts on cached rights')
  const { ok, error } = await admin.request('seat:mute', { userId: 2 })
  t.match({ ok, code: error?.code }, { ok: false, code: 'UNAVAILABLE' }, 'unknown rights return UNAVAILABLE instead of FORBIDDEN')
  const late = await server.connect(100 + round)
  t.match(await late.ok('room:join', { roomId }), { ownerId: 1, self: { role: 'member' } }, 'new users can join')
  await late.close()
}

/** Checks the recovery: gifts are charged, roles are available, and the backend receives the room events. */
export async function heals (t: Test, { server, backend, owner, speaker, admin }: Life, gifts: number): Promise<void> {
  await until(async () => (await admin.request('seat:mute', { userId: 2 })).ok)
  t.match(await speaker.event('seat:userMuted'), { userId: 2, isMuted: true })
  await until(() => backend.ledger.size === gifts)
  t.ok([...backend.ledger.values()].every(({ applied }) => applied === 1), `each of ${gifts} gifts is charged once`)
  t.match(await server.admin('GET', '/admin/gifts'), { body: { queued: 0, deadLetters: 0, failed: 0 } })
  await until(() => backend.statuses.at(-1)?.status.participant_count === 3)
  for (const client of [speaker, admin]) await client.close()
  await until(() => backend.statuses.at(-1)?.status.participant_count === 1)
  await owner.close()
  await until(() => backend.statuses.at(-1)?.status.is_live === false)
  t.match(backend.statuses.at(-1), { roomId: '7', status: { participant_count: 0 } })
}
