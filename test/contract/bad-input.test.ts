import fc from 'fast-check'
import t from 'tap'
import { codePoint, fitting, garbage, nearly, tries } from '../support/arbitrary.ts'
import { adminKey, build, onEveryStore, tokenFor } from '../support/build.ts'
import { nativeOnly } from '../support/client.ts'
import { knownCodes, scene } from '../support/scene.ts'
import type { Scene } from '../support/scene.ts'

const limit = 65_536
const codes = await knownCodes()

// Placeholders stand for ids that are known only when a frame is sent. They also make counterexamples easier to read.
const ofMine = (what: string) => `@own.${what}`
const names = ['producerTransport', 'consumerTransport', 'producer', 'consumer'].flatMap((what) => ['own', 'victim', 'stranger'].map((whose) => `@${whose}.${what}`))
const mostly = (usual: string) => fc.oneof({ weight: 2, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...names) })
const named = {
  transportId: fc.oneof(mostly(ofMine('producerTransport')), mostly(ofMine('consumerTransport'))),
  producerId: mostly(ofMine('producer')),
  consumerId: mostly(ofMine('consumer')),
  userId: fc.constantFrom<(string | number)[]>('attacker', 'victim', 'stranger', 'nobody', 0, -1, 1.5) as fc.Arbitrary<string | number>,
  roomId: fc.constantFrom('r1', 'r1', 'r1', 'r2', 'nowhere', '__proto__')
}

const replyIds = fc.oneof(
  fc.constantFrom<(string | number)[]>(0, -1, 1.5, 2 ** 53, 1e21, 1e-7, '', ' ', '0', '__proto__', '\u0000', '💥', 'x'.repeat(5000)) as fc.Arbitrary<string | number>,
  fc.string({ unit: codePoint }),
  fc.integer()
)
const noIds = fc.constantFrom<unknown[]>(undefined, null, true, {}, [], [1], { id: 1 }, JSON.parse('{"__proto__":1}'))

function frame ({ ids }: Scene, message: object): string {
  const text = JSON.stringify(message)
  return text.replace(/"@(\w+\.\w+)"/g, (whole, name: string) => JSON.stringify(ids.get(name) ?? whole))
}

/**
 * Checks that the server sent exactly one reply to a frame, with the frame's id and a documented error code. For a
 * frame without an id, no reply is also correct.
 */
function check (answers: Record<string, unknown>[], id: unknown) {
  const withId = typeof id === 'string' || typeof id === 'number'
  if (answers.length === 0 && !withId) return
  if (answers.length !== 1) throw new Error(`received ${answers.length} replies: ${JSON.stringify(answers)}`)
  const answer = answers[0] as { id?: unknown, ok?: boolean, type?: string, data?: unknown, error?: unknown }
  if (withId && JSON.stringify(answer.id) !== JSON.stringify(JSON.parse(JSON.stringify(id)))) throw new Error(`reply with the id ${JSON.stringify(answer.id)}`)
  if (!withId && answer.type !== 'error') throw new Error(`not a pushed error: ${JSON.stringify(answer)}`)
  if (answer.ok === true) return
  const { code, message } = (withId ? answer.error : answer.data) as { code: string, message: unknown }
  if (!codes.has(code)) throw new Error(`undocumented code ${code}: ${JSON.stringify(answer)}`)
  if (typeof message !== 'string' || message === '') throw new Error(`no message: ${JSON.stringify(answer)}`)
}

t.test('a message with arbitrary data receives exactly one reply and affects no other client', async (t) => {
  const stage = await scene(t)
  const routes = stage.server.app.messages.contract().flatMap(({ routes }) => routes)
  t.ok(routes.length >= 13, `${routes.length} types`)

  for (const { type, request } of routes) {
    await t.test(type, async (t) => {
      const valid = fitting(request, named)
      const data = fc.oneof(
        { weight: 2, arbitrary: valid },
        { weight: 6, arbitrary: nearly(valid) },
        { weight: 2, arbitrary: garbage }
      )
      const id = fc.oneof({ weight: 4, arbitrary: replyIds }, { weight: 1, arbitrary: noIds })
      await fc.assert(fc.asyncProperty(data, id, async (data, id) => {
        await stage.restore()
        const text = frame(stage, { id, type, data })
        fc.pre(Buffer.byteLength(text) <= limit)
        check(await stage.exchange(text), id)
      }), tries(10))
      t.pass('one reply to each frame')
    })
  }
  await stage.restore()
  await stage.unharmed(t)
})

t.test('every text frame receives exactly one reply', nativeOnly, async (t) => {
  const stage = await scene(t)
  const good = JSON.stringify({ id: 1, type: 'user:getRoom', data: { userId: 'nobody' } })
  const spoilt = fc.tuple(fc.nat(good.length), fc.nat(8), fc.string({ unit: codePoint, maxLength: 8 }))
    .map(([at, length, text]) => good.slice(0, at) + text + good.slice(at + length))
  const envelope = fc.record({ id: garbage, type: fc.oneof(garbage, fc.constantFrom('user:getRoom', 'room:leave', 'toString', '__proto__')), data: garbage }, { requiredKeys: [] })

  await fc.assert(fc.asyncProperty(fc.oneof(fc.string({ unit: codePoint }), spoilt, fc.json(), envelope.map((value) => JSON.stringify(value)), garbage.map((value) => JSON.stringify(value))), async (text) => {
    fc.pre(Buffer.byteLength(text) <= limit)
    await stage.restore()
    const answers = await stage.exchange(text)
    let id: unknown
    // Skip a byte order mark, because the server's parser also skips it.
    try { id = (JSON.parse(text.replace(/^\uFEFF/, '')) as { id?: unknown } | null)?.id } catch {}
    check(answers, id)
  }), tries(60))
  await stage.unharmed(t)
})

t.test('survives malformed frames and frames that are expensive to parse', nativeOnly, async (t) => {
  const stage = await scene(t)
  const message = (data: string, id = '1', type = '"user:getRoom"') => `{"id":${id},"type":${type},"data":${data}}`
  const fill = (text: string, unit: string) => text.replace('…', unit.repeat(Math.floor((limit - text.length) / unit.length)))
  const cases: Record<string, [text: string, id: unknown, code: string]> = {
    nothing: ['', undefined, 'VALIDATION_FAILED'],
    null: ['null', undefined, 'VALIDATION_FAILED'],
    'a list of messages': [`[${message('{}')}]`, undefined, 'VALIDATION_FAILED'],
    'two messages': [message('{}') + message('{}'), undefined, 'VALIDATION_FAILED'],
    'an id that cannot be echoed': [message('{"userId":1}', '1e999'), undefined, 'VALIDATION_FAILED'],
    'an id that cannot be echoed, with an unknown type': [message('{}', '-1e999', '"nothing"'), undefined, 'VALIDATION_FAILED'],
    'an id twice': ['{"id":1,"id":2,"type":"nothing"}', 2, 'UNKNOWN_TYPE'],
    'no type': ['{"id":3}', 3, 'VALIDATION_FAILED'],
    'an empty type': [message('{}', '4', '""'), 4, 'VALIDATION_FAILED'],
    'a type that is a number': [message('{}', '5', '5'), 5, 'VALIDATION_FAILED'],
    'a huge type': [fill(message('{}', '6', '"…"'), 'x'), 6, 'VALIDATION_FAILED'],
    'a type that is a property of every object': [message('{}', '7', '"toString"'), 7, 'UNKNOWN_TYPE'],
    'the type __proto__': [message('{}', '8', '"__proto__"'), 8, 'UNKNOWN_TYPE'],
    'data that is a list': [message('[]', '9'), 9, 'VALIDATION_FAILED'],
    'data that is a string': [message('"userId"', '10'), 10, 'VALIDATION_FAILED'],
    'an object with an invalid length instead of a string': [message('{"userId":{"length":{"toString":"","valueOf":1}}}', '31'), 31, 'VALIDATION_FAILED'],
    'an object with an invalid length as the type': [message('{}', '32', '{"length":{"toString":"","valueOf":1}}'), 32, 'VALIDATION_FAILED'],
    'nested lists': [fill('{"id":11,"type":"user:getRoom","data":{"userId":…', '['), 11, 'VALIDATION_FAILED'],
    'nested lists, closed': [message(`{"userId":${'['.repeat(30_000)}${']'.repeat(30_000)}}`, '12'), 12, 'VALIDATION_FAILED'],
    'nested objects, closed': [message(`{"userId":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`, '13'), 13, 'VALIDATION_FAILED'],
    '__proto__ in __proto__': [message(`{"userId":${'{"__proto__":'.repeat(4000)}1${'}'.repeat(4000)}}`, '14'), 14, 'VALIDATION_FAILED'],
    '__proto__ instead of data': ['{"id":15,"type":"user:getRoom","__proto__":{"data":{"userId":1}}}', 15, 'VALIDATION_FAILED'],
    '__proto__ instead of a field': [message('{"__proto__":{"userId":1}}', '16'), 16, 'VALIDATION_FAILED'],
    'thousands of fields': [message(`{${Array.from({ length: 5000 }, (_, i) => `"a${i}":1`).join()}}`, '17'), 17, 'VALIDATION_FAILED'],
    'thousands of faults': [message(`{"transportId":"x","dtlsParameters":{"fingerprints":[${Array.from({ length: 5000 }, () => '{}').join()}]}}`, '18', '"transport:connect"'), 18, 'VALIDATION_FAILED'],
    'a string that fills the frame': [fill(message('{"userId":"…"}', '19'), 'x'), 19, 'VALIDATION_FAILED'],
    'many escapes': [fill(message('{"userId":"…"}', '20'), '\\u0000'), 20, 'VALIDATION_FAILED'],
    'a number that fills the frame': [fill(message('{"userId":…}', '21'), '9'), 21, 'VALIDATION_FAILED'],
    'white space that fills the frame': [fill(message('{"roomId":…1}', '22', '"room:join"'), ' '), 22, 'VALIDATION_FAILED']
  }
  for (const [name, [text, id, code]] of Object.entries(cases)) {
    t.ok(Buffer.byteLength(text) <= limit, `${name}: fits into a frame`)
    const begin = performance.now()
    const answers = await stage.exchange(text)
    t.equal(answers.length, 1, `${name}: one reply`)
    t.match(answers[0], id === undefined ? { type: 'error', data: { code } } : { id, ok: false, error: { code } }, name)
    t.ok(performance.now() - begin < 5000, `${name}: is parsed quickly`)
    t.ok(JSON.stringify(answers[0]).length < 10_000, `${name}: the reply is short`)
  }
  await stage.unharmed(t)
})

/** Strings that are valid in JSON, but not in UTF-8 or in databases. */
const unstorable = ['a\ud800bcd', 'ab\udc00\ud83dcd', 'abcd\0']

onEveryStore(t, 'rejects strings that cannot be stored', async (t, env) => {
  const server = await build(t, { env: { PUBLIC_CLAIMS: 'id,name,avatar', FEATURES: '', ...env } })
  for (const face of ['native', 'socket.io'] as const) {
    const roomId = `r-${face}`
    const client = await server.connect(face, { face })
    await client.ok('room:join', { roomId, title: 'Title 😀' })
    for (const text of unstorable) {
      const requests: [type: string, data: Record<string, unknown>, path?: string][] = [
        ['chat:message', { content: text }], ['chat:delete', { id: text }], ['chat:history', { before: text }],
        ['room:update', { title: text }], ['room:update', { topic: text }], ['room:lock', { pin: text }],
        ['room:join', { roomId: 'other', title: text }], ['room:join', { roomId: 'other', topic: text }], ['room:join', { roomId: 'other', pin: text }],
        ['room:kick', { userId: text }], ['room:unban', { userId: text }], ['room:setRole', { userId: text, role: 'admin' }], ['room:transfer', { userId: text }],
        ['room:muteAll', { except: ['ada', text] }, 'except.1'], ['room:bans', { cursor: text }], ['room:participants', { cursor: text }],
        ['seat:invite', { userId: text, seatIndex: 0 }], ['seat:mute', { userId: text }], ['user:getRoom', { userId: text }],
        ['gift:send', { giftId: 1, recipientId: text }], ['gift:prepare', { giftId: 1, recipientId: text }], ['lobby:list', { query: text }]
      ]
      for (const [type, data, path = Object.keys(data).find((key) => data[key] === text)] of requests) {
        t.match((await client.request(type, data)).error, { code: 'VALIDATION_FAILED', details: [{ path }] }, `${face} ${type} ${path}`)
      }
      await client.ok('chat:message', { content: 'fine', unknown: text })
    }
    await client.ok('seat:take', { seatIndex: 0 })
    t.match(await (await server.connect(`${face}2`)).ok('room:join', { roomId }), { participantCount: 2, title: 'Title 😀', topic: null, isLocked: false }, 'nothing was changed')
    t.match(await server.admin('GET', '/admin/rooms/other'), { status: 404 })
  }

  const invalid = { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } }
  for (const text of unstorable) {
    t.match(await server.admin('POST', '/admin/rooms/r-native/kick', { userId: text }), invalid)
    t.match(await server.admin('PATCH', '/admin/rooms/r-native', { title: text }), { ...invalid, body: { error: { details: [{ path: 'title' }] } } })
    t.match(await server.admin('POST', '/admin/rooms/r-native/close', { reason: text }), invalid)
    const response = await fetch(`${server.url}/auth/session`, { headers: { authorization: `Bearer ${tokenFor(1, { avatar: text })}` } })
    t.equal(response.status, 401, 'a public claim cannot contain the string')
    t.match(await response.json(), { error: { code: 'UNAUTHORIZED', message: /avatar/ } })
  }
  for (const path of ['/admin/users/a%00', '/admin/rooms?query=a%00', '/admin/users/%ED%A0%80']) t.match(await server.admin('GET', path), invalid, path)
  const whip = await fetch(`${server.url}/whip/r-native?pin=1234%00`, { method: 'POST', headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/sdp' }, body: 'v=0' })
  t.match({ status: whip.status, body: await whip.json() }, invalid)
})

t.test('accepts only user ids that a token can contain', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,seats,moderation,gifts' } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const userId of [1.5, 1e21, 2 ** 53, '', '.', '..', 'x'.repeat(129), true, null, [1], { id: 1 }]) {
    for (const type of ['room:kick', 'room:unban', 'seat:mute', 'user:getRoom']) t.equal(await ada.fails(type, { userId }), 'VALIDATION_FAILED', `${type} ${JSON.stringify(userId)}`)
    t.match(await server.admin('POST', '/admin/rooms/r1/kick', { userId }), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  }
  ada.send('{"id":"infinite","type":"user:getRoom","data":{"userId":1e999}}')
  ada.send('{"id":"zero","type":"user:getRoom","data":{"userId":-0}}')
  for (const userId of ['1.5', '1e21', 'NaN', '-0', ' ', '__proto__', 'x'.repeat(128), -1, 0]) t.same(await ada.ok('user:getRoom', { userId }), { roomId: null }, JSON.stringify(userId))
  const replies = ada.events as unknown as { id: string, ok: boolean, error?: { code: string } }[]
  t.match(replies.filter(({ id }) => id === 'infinite' || id === 'zero'), [{ id: 'infinite', ok: false, error: { code: 'VALIDATION_FAILED' } }, { id: 'zero', ok: true }])
  const zero = await server.connect(0)
  await zero.ok('room:join', { roomId: 'r2' })
  t.same(await ada.ok('user:getRoom', { userId: -0 }), { roomId: 'r2' })
})
