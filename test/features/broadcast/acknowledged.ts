import type { Test } from 'tap'
import { build, shortTimings, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { until } from '../../support/retry.ts'

// Once a server has acknowledged a broadcast command, a recording command or a call to /api, the effect must survive
// kill -9. The test sends all these requests at once and kills the server when the last reply arrives. The test fails
// if the server sends a reply before it stores the change.

const features = { FEATURES: 'auth,media,broadcast,recording', BROADCAST_ENCRYPT: 'true' }

/** A server that can be killed. */
export interface Killable {
  url: string
  /** @returns the environment of the replacement server */
  kill (): Promise<Record<string, string>>
}

/**
 * Kills a server that has acknowledged commands, and checks the effects of the commands on another server.
 *
 * @param start starts the first server
 * @param store environment that selects a store
 */
export async function loseNothingAcknowledged (t: Test, start: (env: Record<string, string>) => Promise<Killable>, store: Record<string, string>): Promise<void> {
  const before = await start({ ...features, ...store })
  let { url } = before
  const api = async (method: string, path: string, body?: object, token = tokenFor(1)) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {})
    })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  }
  const keyOf = async (token: unknown) => {
    const response = await fetch(`${url}/hls/key-room/key?token=${String(token)}`)
    return { status: response.status, body: Buffer.from(await response.arrayBuffer()) }
  }
  const ownerOf = async (id: number, roomId: string) => {
    const owner = await connect(t, url, { token: tokenFor(id) })
    // Retry, because a server that has just started may reject new rooms for some time.
    await until(async () => (await owner.request('room:join', { roomId })).ok)
    return owner
  }

  const [starts, stops, records, recorded, listened] = await Promise.all(['starts', 'stops', 'records', 'recorded', 'key-room'].map(async (roomId, i) => await ownerOf(10 + i, roomId)))
  if (!starts || !stops || !records || !recorded || !listened) return
  await stops.ok('broadcast:start')
  await listened.ok('broadcast:start')
  // The first mixer thread of a server may take some time to start on a busy machine.
  const { recordingId: stopped } = await until(async () => {
    const { ok, data } = await recorded.request('recording:start')
    return ok && data
  }, 60_000)
  for (const roomId of ['with-user', 'started', 'deleted']) t.equal((await api('POST', '/api/rooms', { roomId })).status, 201)
  await ownerOf(1, 'deleted')

  const [, , recording, , , user, key] = await Promise.all([
    starts.ok('broadcast:start'),
    stops.ok('broadcast:stop'),
    records.ok('recording:start'),
    recorded.ok('recording:stop'),
    api('POST', '/api/rooms', { roomId: 'created', pin: 'abc123' }),
    api('POST', '/api/rooms/with-user/users', { role: 'anchor' }),
    api('POST', '/api/token', { roomId: 'key-room' }),
    api('POST', '/api/rooms/started/start'),
    api('DELETE', '/api/rooms/deleted')
  ])
  const after = await build(t, { env: await before.kill(), timings: shortTimings })
  url = after.url
  const enter = async (id: number, roomId: string) => {
    const client = await after.connect(id)
    return {
      client,
      reply: await until(async () => {
        const { ok, data } = await client.request('room:join', { roomId })
        return ok && data
      })
    }
  }
  t.match((await enter(10, 'starts')).reply, { ownerId: 10, broadcast: { hlsUrl: '/hls/starts/index.m3u8' } })
  t.match((await enter(11, 'stops')).reply, { ownerId: 11, broadcast: null })
  t.match((await enter(13, 'recorded')).reply, { recording: null })
  t.match(await keyOf(key.body['token']), { status: 200, body: { length: 16 } })
  t.equal((await keyOf('1.x')).status, 403)

  t.match(await api('GET', '/api/rooms/created'), { status: 200, body: { room: { roomId: 'created' } } })
  t.equal(await (await after.connect(2)).fails('room:join', { roomId: 'created', pin: 'other1' }), 'PIN_WRONG')
  t.match(await api('GET', '/api/rooms/with-user'), { body: { room: { users: [{ userID: user.body['userID'], role: 'anchor' }] } } })
  const anchor = await connect(t, url, { token: String(user.body['token']) })
  t.equal(anchor.greeting['userId'], user.body['userID'])
  t.equal((await api('GET', '/api/rooms/deleted')).status, 404)
  t.equal((await after.admin('GET', '/admin/rooms/deleted')).status, 404)
  await (await enter(1, 'started')).client.event('broadcast:started')

  // When a member returns to the room, a new recording continues the previous recording.
  const { client } = await enter(12, 'records')
  await until(() => client.events.some(({ type }) => type === 'recording:started'), 60_000)
  const { recordingId: next } = await client.event('recording:started')
  const detail = async (id: unknown) => (await after.admin('GET', `/admin/recordings/${String(id)}`)).body
  // Until a recording is finished, a request may fail, because the record names the server that no longer exists. The
  // recording that was stopped may be empty, and is then deleted.
  await until(async () => typeof (await detail(recording['recordingId']))?.['endedAt'] === 'number', 60_000)
  await until(async () => {
    const body = await detail(stopped)
    return typeof body?.['endedAt'] === 'number' || (body?.['error'] as { code?: string } | undefined)?.code === 'RECORDING_NOT_FOUND'
  }, 60_000)
  t.match(await detail(recording['recordingId']), { roomId: 'records', reason: 'server_lost' })
  t.match(await detail(next), { continues: recording['recordingId'], startedBy: 12, endedAt: null })
}
