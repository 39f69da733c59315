import { createHash } from 'node:crypto'
import t from 'tap'
import { adminKey, build, tokenFor } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

// Each change by an admin is logged as one line, with the admin, the change, and the state before and after the change.

t.test('writes an audit line per change', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: '' }, log: (line) => { if (line.audit === true) lines.push(line) } })
  const ada = await server.connect(1)
  const bob = await server.connect(2)
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const key = createHash('sha256').update(adminKey).digest('hex').slice(0, 8)
  const token = tokenFor(7)

  const change = async (method: string, path: string, body: unknown, expected: Record<string, unknown>) => {
    const before = lines.length
    const { status } = await server.admin(method, path, body)
    t.ok(status < 300, `${method} ${path}: ${status}`)
    t.equal(lines.length, before + 1, 'one line')
    t.match(lines.at(-1), { level: 30, audit: true, key, ip: '127.0.0.1', msg: `admin: ${String(expected.action)}`, ...expected })
  }
  await change('PATCH', '/admin/rooms/r1/seats', { seatCount: 4 }, { action: 'seats.resize', roomId: 'r1', before: { seatCount: 15 }, after: { seatCount: 4 } })
  await change('PUT', '/admin/rooms/r1/roles/2', { role: 'admin' }, { action: 'room.setRole', roomId: 'r1', userId: '2', before: { role: 'member' }, after: { role: 'admin' } })
  await change('POST', '/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 }, { action: 'room.kick', roomId: 'r1', userId: 2, before: { inRoom: true }, after: { inRoom: false, bannedUntil: Number } })
  await change('DELETE', '/admin/rooms/r1/bans/2', undefined, { action: 'room.unban', roomId: 'r1', userId: '2', before: { banned: true }, after: { banned: false } })
  const { recordingId } = await until(async () => await ada.ok('recording:start'))
  const recording = `/admin/recordings/${String(recordingId)}`
  await until(async () => Number((await server.admin('GET', recording)).body?.seconds) > 0)
  await ada.ok('recording:stop')
  await until(async () => (await server.admin('GET', recording)).body?.endedAt !== null)
  await change('DELETE', recording, undefined, { action: 'recording.delete', recordingId, roomId: 'r1', before: { files: 1 }, after: null })
  await change('PATCH', '/admin/rooms/r1', { title: 'News' }, { action: 'room.update', roomId: 'r1', before: { title: null }, after: { title: 'News' } })
  await change('POST', '/admin/rooms/r1/close', { reason: 'backend' }, { action: 'room.close', roomId: 'r1', reason: 'backend', before: { ownerId: 1, participantCount: 1 }, after: null })
  await change('POST', '/admin/tokens/revoke', { token }, { action: 'token.revoke', sha256: createHash('sha256').update(token).digest('hex'), before: { revoked: false }, after: { revokedUntil: Number } })
  await change('POST', '/admin/gifts/dead-letters/replay', undefined, { action: 'gifts.replay', transactionIds: 'all', replayed: 0, before: { deadLetters: 0 }, after: { deadLetters: 0 } })
  await change('DELETE', '/admin/push-to-talk/talks/1', undefined, { action: 'push-to-talk.delete', messageId: '1', before: 'kept', after: null })
  await change('POST', '/admin/features/chat/disable', undefined, { action: 'feature.disable', feature: 'chat', before: { state: 'enabled', generation: 1 }, after: { state: 'disabled' } })
  await change('POST', '/admin/features/chat/enable', undefined, { action: 'feature.enable', feature: 'chat', before: { state: 'disabled' }, after: { state: 'enabled', generation: 2 } })
  await change('POST', '/admin/features/chat/reload', undefined, { action: 'feature.reload', feature: 'chat', before: { generation: 2 }, after: { generation: 3 } })
  await change('PATCH', '/admin/features/chat/config', { history: 5 }, { action: 'feature.configure', feature: 'chat', before: { config: {} }, after: { config: { history: 5 } } })
  await change('POST', '/admin/features/rescan', undefined, { action: 'feature.rescan', added: [], removed: [], before: Array, after: Array })
  const { nodeId } = server.app
  await change('POST', `/admin/nodes/${nodeId}`, { state: 'cordon' }, { action: 'node.state', nodeId, before: { state: 'ready' }, after: { state: 'cordon' } })
  await change('POST', '/admin/drain', { deadlineSeconds: 0 }, { action: 'server.drain', before: { draining: false }, after: { draining: true } })
  t.notMatch(JSON.stringify(lines), new RegExp(`${adminKey}|${token}`), 'the audit lines contain no key or token')

  // Fail if a route that changes state is missing from this test.
  const { paths } = await (await fetch(`${server.url}/docs/openapi.json`)).json() as { paths: Record<string, Record<string, unknown>> }
  const changing = Object.entries(paths).filter(([path]) => path.startsWith('/admin/')).flatMap(([path, methods]) => Object.keys(methods).filter((method) => method !== 'get').map((method) => `${method} ${path}`))
  t.equal(changing.length, lines.length, changing.join(', '))
})

t.test('writes no audit line for rejected calls', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,chat' }, log: (line) => { if (line.audit === true) lines.push(line) } })
  t.equal((await server.admin('POST', '/admin/rooms/nowhere/close')).status, 404)
  t.equal((await server.admin('PATCH', '/admin/features/chat/config', { history: 'long' })).status, 400)
  t.equal((await fetch(`${server.url}/admin/features/chat/disable`, { method: 'POST' })).status, 401)
  t.strictSame(lines, [])
})
