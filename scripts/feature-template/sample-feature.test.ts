import { build, t } from 'flylive-audio-server/testing'

// Tests the feature's contract on a real server.

const env = { FEATURES: 'auth,sample-feature' }

t.test('sends a text to everyone in the room', async (t) => {
  const server = await build(t, { env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  t.equal(await ada.fails('sample-feature:say', { text: 'hello' }), 'NOT_IN_ROOM')
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })

  const { timestamp } = await ada.ok('sample-feature:say', { text: 'hello' })
  for (const client of [ada, bob]) t.same(await client.event('sample-feature:said'), { roomId: 'r1', userId: 1, text: 'hello', timestamp })
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_sample_feature_total 1')
})

t.test('rejects texts that the schema or the settings do not allow', async (t) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal(await ada.fails('sample-feature:say', { text: '' }), 'VALIDATION_FAILED')
  t.match(await ada.request('sample-feature:say', { text: 'x'.repeat(201) }), { error: { code: 'SAMPLE_FEATURE_TOO_LONG', details: { longest: 200 } } })

  t.match(await server.admin('PATCH', '/admin/features/sample-feature/config', { longest: 5, perMinute: 2 }), { status: 200 })
  t.match(await ada.request('sample-feature:say', { text: 'longer' }), { error: { code: 'SAMPLE_FEATURE_TOO_LONG', details: { longest: 5 } } })
  t.match(await ada.request('sample-feature:say', { text: 'again' }), { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } })
})

t.test('keeps the last text across a reload, and lets an admin read and delete it', async (t) => {
  const server = await build(t, { env })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('sample-feature:say', { text: 'hello' })
  t.match(await server.admin('POST', '/admin/features/sample-feature/reload'), { status: 200, body: { generation: 2 } })

  t.same(await server.admin('GET', '/admin/sample-feature/r1'), { status: 200, body: { text: 'hello' } })
  t.equal((await fetch(`${server.url}/admin/sample-feature/r1`)).status, 401, 'without the key')
  t.equal((await server.admin('DELETE', '/admin/sample-feature/r1')).status, 204)
  t.same(await server.admin('GET', '/admin/sample-feature/r1'), { status: 200, body: { text: null } })
})
