import t from 'tap'
import { adminKey, build } from '../support/build.ts'
import { featureFolder } from '../support/features.ts'

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

t.test('accepts an empty form, and an empty JSON array if the body is optional', async (t) => {
  const folder = featureFolder(t)
  folder.write('lists', {
    'index.ts': `import { defineFeature, z } from 'flylive-audio-server/feature'
export default defineFeature(async function lists (app) {
  app.post('/lists', { schema: { body: z.array(z.string()).nullish() } }, async ({ body }) => ({ body }))
}, { name: 'lists' })`
  })
  const server = await build(t, { env: { FEATURES: 'auth,chat,gifts,lists', FEATURES_PATH: folder.path } })
  const call = async (path: string, type: string, body: string) => {
    const response = await fetch(server.url + path, { method: 'POST', headers: { authorization: `Bearer ${adminKey}`, 'content-type': type }, body })
    return { status: response.status, text: await response.text() }
  }
  const [form, json] = ['application/x-www-form-urlencoded; charset=utf-8', 'application/json'] as const
  const client = await server.connect(1)
  for (const [type, body] of [[form, ''], [json, '[]']] as const) {
    await client.ok('room:join', { roomId: 'r1' })
    t.match(await call('/admin/features/chat/reload', type, body), { status: 200 })
    t.match(await call('/admin/gifts/dead-letters/replay', type, body), { status: 200, text: '{"replayed":0}' })
    t.match(await call('/admin/rooms/r1/close', type, body), { status: 204 })
    await client.event('room:closed')
    t.match(await call('/admin/drain', type, body), { status: 400, text: /VALIDATION_FAILED/ }, 'a route that requires a body')
  }
  t.match(await call('/admin/features/chat/reload', form, 'a=1'), { status: 415, text: /VALIDATION_FAILED/ }, 'forms are not supported')
  t.match(await call('/admin/rooms/r1/close', json, '[1]'), { status: 400 })
  t.match(await call('/lists', json, '[]'), { status: 200, text: '{"body":[]}' }, 'a route that accepts arrays')
})
