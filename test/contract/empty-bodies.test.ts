import t from 'tap'
import { adminKey, build } from '../support/build.ts'

t.test('accepts an empty body with a JSON content type, in kernel and feature routes', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,gifts' } })
  const client = await server.connect(1)
  await client.ok('room:join', { roomId: 'r1' })
  const call = async (method: string, path: string, body?: string) => {
    const response = await fetch(server.url + path, {
      method,
      headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body })
    })
    return { status: response.status, text: await response.text() }
  }
  t.match(await call('POST', '/admin/features/chat/disable'), { status: 200 })
  t.match(await call('POST', '/admin/features/chat/enable', ''), { status: 200 })
  t.match(await call('POST', '/admin/gifts/dead-letters/replay'), { status: 200, text: '{"replayed":0}' })
  t.match(await call('POST', '/admin/drain'), { status: 400, text: /VALIDATION_FAILED/ }, 'a route that requires a body')
  t.match(await call('POST', '/admin/rooms/r1/close', '{'), { status: 400, text: /VALIDATION_FAILED/ }, 'invalid JSON is rejected')
  t.match(await call('POST', '/admin/rooms/r1/close', '{"__proto__":{}}'), { status: 400 })
  t.match(await call('POST', '/admin/rooms/r1/kick', '{"userId":{"length":{"toString":"","valueOf":1}}}'), { status: 400, text: /VALIDATION_FAILED/ }, 'zod throws')
  t.match(await call('POST', '/admin/rooms/r1/close'), { status: 204 })
  t.match(await client.event('room:closed'), { reason: 'closed_by_admin' })
})
