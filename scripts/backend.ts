// A simulated backend, for trying the server without Laravel: npm run backend. The backend keeps its data in memory.
// Requests to /_control change the data and inject faults.
import { z } from 'zod'
import { createBackend, eventsChannel } from '../test/support/backend.ts'
import type { Answer, Backend } from '../test/support/backend.ts'

const id = z.union([z.int(), z.string().min(1)])
const fault = z.strictObject({
  kind: z.enum(['slow', 'status', 'hang', 'reset', 'reset-after', 'stall', 'malformed', 'reject']),
  call: z.enum(['gifts', 'status', 'room', 'role', 'other']).optional(),
  path: z.string().optional(),
  ms: z.int().min(0).optional(),
  status: z.int().min(200).max(599).optional(),
  code: z.int().optional(),
  reason: z.string().optional(),
  transactionIds: z.array(z.string()).optional(),
  times: z.int().min(1).optional()
})
const room = z.union([
  z.strictObject({ id, owner_id: id.nullable() }),
  z.strictObject({ every: z.literal(true), owner_id: id.nullable() })
])
const role = z.strictObject({ room_id: id, user_id: id, role: z.enum(['owner', 'admin', 'member']).nullable() })
const balance = z.strictObject({ user_id: id, amount: z.int().nullable() })
const event = z.strictObject({ event: z.string(), user_id: id.nullish(), room_id: id.nullish(), payload: z.unknown().optional(), correlation_id: z.string().optional() })

const { env } = process
const port = Number(env.PORT ?? 4000)
const redisUrl = env.REDIS_URL
const channel = env.LARAVEL_EVENTS_CHANNEL ?? eventsChannel

const stateOf = (backend: Backend) => ({
  rooms: Object.fromEntries(backend.rooms),
  every_room: backend.everyRoom?.('') ?? null,
  roles: Object.fromEntries(backend.roles),
  balances: Object.fromEntries(backend.balances),
  faults: backend.faults,
  gifts: [...backend.ledger.values()].slice(-100),
  statuses: backend.statuses.slice(-100),
  calls: { gifts: backend.calls('gifts'), status: backend.calls('status'), room: backend.calls('room'), role: backend.calls('role') }
})

/** Sets a map entry, or removes the entry if the value is null. */
function put<K, V> (map: Map<K, V>, key: K, value: V | null): void {
  if (value === null) map.delete(key)
  else map.set(key, value)
}

async function change (backend: Backend, what: string, body: unknown): Promise<boolean> {
  switch (what) {
    case 'faults':
      backend.fault(fault.parse(body))
      return true
    case 'rooms': {
      const given = room.parse(body)
      const { owner_id: owner } = given
      if ('id' in given) put(backend.rooms, String(given.id), owner)
      else backend.everyRoom = owner === null ? undefined : () => owner
      return true
    }
    case 'roles': {
      const given = role.parse(body)
      put(backend.roles, `${given.room_id}/${given.user_id}`, given.role)
      return true
    }
    case 'balances': {
      const given = balance.parse(body)
      put(backend.balances, String(given.user_id), given.amount)
      return true
    }
    case 'publish': {
      const { event: name, payload = {}, ...to } = event.parse(body)
      const heard = await backend.publish(name, { ...Object.fromEntries(Object.entries(to).filter(([, value]) => value !== undefined)), payload })
      console.log(`published ${name} to ${heard} subscribers`)
      return true
    }
    default: return false
  }
}

async function control (backend: Backend, { method, path, body }: { method: string, path: string, body: unknown }): Promise<Answer | undefined> {
  const what = /^\/_control(?:\/(\w+))?$/.exec(path)
  if (!what) return
  if (method === 'GET') return { status: 200, body: stateOf(backend) }
  if (method === 'DELETE' && what[1] === 'faults') {
    backend.mend()
    return { status: 200, body: stateOf(backend) }
  }
  try {
    if (method === 'POST' && await change(backend, what[1] ?? '', body)) return { status: 200, body: stateOf(backend) }
  } catch (error) {
    return { status: 400, body: { message: error instanceof z.ZodError ? z.prettifyError(error) : String(error) } }
  }
  return { status: 404, body: { message: 'POST /_control/faults, rooms, roles, balances or publish; DELETE /_control/faults; GET /_control' } }
}

const backend = await createBackend({ port, channel, ...(redisUrl === undefined ? {} : { redisUrl }), extra: control })
// By default, a room exists for every room id, and user 1 owns it.
backend.everyRoom = () => 1

const post = (what: string, body: object) => `curl -s ${backend.url}/_control/${what} -d '${JSON.stringify(body)}'`
console.log(`
  A backend that implements the Laravel contract listens on ${backend.url}
  By default, a room exists for every room id, and user 1 owns it. No data is kept when the backend stops.

  Start the server with this backend:

    LARAVEL_API_URL=${backend.url} LARAVEL_INTERNAL_KEY=${backend.key} ${redisUrl === undefined ? '' : `REDIS_URL=${redisUrl} `}npm start

  Show its data and received calls:  curl -s ${backend.url}/_control
  A room owned by user 42:           ${post('rooms', { id: 7, owner_id: 42 })}
  An admin of the room:              ${post('roles', { room_id: 7, user_id: 43, role: 'admin' })}
  Coins of a user:                   ${post('balances', { user_id: 43, amount: 100 })}
  Make calls fail:                   ${post('faults', { kind: 'status', status: 503 })}
    kinds: slow (ms), status, hang, reset, reset-after, stall, malformed, reject (gifts);
    call: gifts, status, room or role; times: number of calls
  Remove all faults:                 curl -s -X DELETE ${backend.url}/_control/faults
  Publish an event:                  ${redisUrl === undefined ? 'needs REDIS_URL' : post('publish', { event: 'balance.updated', user_id: 43, payload: { coins: 5 } })}
`)

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => { backend.close().then(() => process.exit(0), () => process.exit(1)) })
}
// If npm exits without forwarding a signal to this process, this process exits when its IPC channel closes.
process.once('disconnect', () => process.exit(0))
