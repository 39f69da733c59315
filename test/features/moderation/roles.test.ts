import t from 'tap'
import type { Test } from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { redisDatabase } from '../../support/redis.ts'
import { openRoom } from './scene.ts'
import type { Scene, Standing } from './scene.ts'

// Sends every command in every role, each time in a new room. A command that has a target user is sent with a member
// (3), an admin (2) and the owner (1) as the target.

interface Case {
  command: string
  /** Returns the `data` of the command for a given target user. */
  data: (target: number, scene: Scene) => object | Promise<object>
  /** The roles that are allowed to send the command. */
  may: readonly Standing[]
  /** Whether the command has a target user. */
  targets?: true
  /**
   * The error code that the owner receives if a backend determines the roles. By default, the owner receives the same
   * result as without a backend.
   */
  withBackend?: string
}

const hosts = ['owner', 'admin'] as const
const cases: readonly Case[] = [
  { command: 'room:kick', data: (userId) => ({ userId }), may: hosts, targets: true },
  { command: 'room:kick', data: (userId) => ({ userId, banSeconds: 60 }), may: hosts, targets: true },
  { command: 'room:unban', data: (userId) => ({ userId }), may: hosts },
  { command: 'room:bans', data: () => ({}), may: hosts },
  { command: 'room:muteAll', data: () => ({}), may: hosts },
  { command: 'room:lock', data: () => ({}), may: hosts },
  { command: 'room:lock', data: () => ({ pin: '1234' }), may: hosts },
  { command: 'room:unlock', data: () => ({}), may: hosts },
  { command: 'room:update', data: () => ({ title: 'An evening' }), may: hosts },
  { command: 'chat:slowMode', data: () => ({ seconds: 10 }), may: hosts },
  { command: 'chat:delete', data: messageOf, may: hosts, targets: true },
  { command: 'room:setRole', data: (userId) => ({ userId, role: 'member' }), may: ['owner'], targets: true, withBackend: 'FORBIDDEN' },
  { command: 'room:transfer', data: (userId) => ({ userId }), may: ['owner'], targets: true, withBackend: 'FORBIDDEN' },
  { command: 'room:end', data: () => ({}), may: ['owner'] }
]

const clientOf = ({ owner, admin, member }: Scene, standing: Standing) => ({ owner, admin, member })[standing]
const idOf = { owner: 1, admin: 2, member: 4 } as const

/** Sends a chat message as the target user. */
async function messageOf (target: number, { owner, admin, member }: Scene): Promise<object> {
  const author = [owner, admin, member][target - 1] as TestClient
  return { id: (await author.ok('chat:message', { content: 'hello' })).id }
}

/** @returns the expected error code of a command; `ok` if the command must succeed */
function expected ({ command, may, targets, withBackend }: Case, actor: Standing, target: number, backend: boolean): string {
  if (!may.includes(actor)) return 'FORBIDDEN'
  // Users who are allowed to delete messages can also delete their own messages.
  if (targets && target === idOf[actor] && command !== 'chat:delete') return 'CANNOT_TARGET_SELF'
  if (backend && withBackend !== undefined) return withBackend
  if (targets && target === 1 && actor === 'admin') return 'FORBIDDEN'
  return 'ok'
}

let rooms = 0

async function table (t: Test, cases: readonly Case[], servers: readonly TestServer[], backend?: Awaited<ReturnType<typeof startBackend>>): Promise<void> {
  for (const one of cases) {
    for (const actor of ['owner', 'admin', 'member'] as const) {
      for (const target of one.targets ? [3, 2, 1] : [3]) {
        const roomId = `${++rooms}`
        if (backend) {
          backend.rooms.set(roomId, 1)
          backend.roles.set(`${roomId}/2`, 'admin')
        }
        const scene = await openRoom(servers, roomId, { name: !backend })
        const sender = actor === 'member' ? scene.other : clientOf(scene, actor)
        const data = await one.data(target, scene)
        const { ok, error } = await sender.request(one.command, data)
        t.equal(ok ? 'ok' : error.code, expected(one, actor, target, backend !== undefined), `${actor}: ${one.command} ${JSON.stringify(data)} against ${target}`)
        for (const client of [scene.owner, scene.admin, scene.member, scene.other]) client.ws.terminate()
      }
    }
  }
}

t.test('accepts or rejects each command by role, on two servers', async (t) => {
  const options = { env: { REDIS_URL: await redisDatabase(), FEATURES: 'auth,seats,chat,moderation' } }
  await table(t, cases, [await build(t, options), await build(t, options)])
})

t.test('roles and owners cannot be changed if a backend determines them', async (t) => {
  // With roles from the backend, test only some commands, because the other commands check the role in the same way.
  const affected = cases.filter(({ command, withBackend }) => withBackend !== undefined || ['room:lock', 'room:end'].includes(command))
  const backend = await startBackend(t)
  await table(t, affected, [await build(t, { env: { ...backend.env, FEATURES: 'auth,seats,chat,moderation,laravel-bridge' } })], backend)
})

t.test('rejects senders who are not in the room, and unknown targets', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats,chat,moderation' } })
  const { owner, admin } = await openRoom([server], 'r1')
  const outsider = await server.connect(9)
  for (const { command } of cases) t.equal(await outsider.fails(command, { userId: 3, role: 'member', id: 'x', seconds: 1, roomId: 'r1' }), 'NOT_IN_ROOM', command)
  for (const data of [{ userId: 99 }, { userId: '99' }]) {
    t.equal(await owner.fails('room:kick', data), 'NOT_IN_ROOM')
    t.equal(await owner.fails('room:transfer', data), 'NOT_IN_ROOM')
    t.equal(await owner.fails('room:setRole', { ...data, role: 'admin' }), 'NOT_IN_ROOM')
  }
  t.same(await owner.ok('room:kick', { userId: 99, banSeconds: 60 }), { userId: 99 }, 'a user who has left can be banned')
  t.same(await owner.ok('room:unban', { userId: 98 }), { userId: 98 }, 'removing a ban that does not exist has no effect')
  t.equal(await admin.fails('chat:delete', { id: 'unknown' }), 'MESSAGE_NOT_FOUND')
  for (const [command, data] of [
    ['room:kick', {}], ['room:kick', { userId: 3, banSeconds: -1 }], ['room:lock', { pin: '123' }], ['room:setRole', { userId: 3, role: 'owner' }],
    ['chat:slowMode', { seconds: -1 }], ['chat:slowMode', { seconds: 3601 }], ['chat:slowMode', { seconds: 0.5 }], ['chat:delete', {}],
    ['room:update', { title: '' }], ['room:update', { title: 'x'.repeat(81) }], ['room:update', { topic: 'x'.repeat(201) }], ['room:muteAll', { except: 3 }]
  ] as const) t.equal(await owner.fails(command, data), 'VALIDATION_FAILED', `${command} ${JSON.stringify(data)}`)
  await owner.ok('room:update', { title: '字😀'.repeat(40), topic: '' })
  t.equal((await server.admin('GET', '/admin/rooms/r1')).body?.title, '字😀'.repeat(40), 'any language, in code points')
})
