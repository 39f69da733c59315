import t from 'tap'
import { version } from 'uuid'
import { startBackend } from '../../support/backend.ts'
import { build, onBothStores, onEveryStore, tokenFor } from '../../support/build.ts'
import { messagesOf, receives, historyOf, pair } from './support.ts'
import { isSince } from '../../support/pace.ts'

onBothStores(t, 'sends a message to every socket in the room, including its sender', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const token = tokenFor(1, { name: 'Ada', avatar: 'ada.png', email: 'ada@example.com' })
  const [ada, adasPhone, bob, eve] = [await a.connect(1, { token }), await b.connect(1, { token }), await b.connect('bob'), await b.connect(3)]
  for (const client of [ada, adasPhone, bob]) await client.ok('room:join', { roomId: 'r1' })
  await eve.ok('room:join', { roomId: 'r2' })

  const before = Date.now()
  const { id, timestamp, ...rest } = await ada.ok('chat:message', { content: 'hello' })
  t.strictSame(rest, {}, 'the reply has no other fields')
  t.equal(version(id as string), 7, 'ids sort by time')
  t.ok(isSince(before, timestamp))
  const hello = { roomId: 'r1', id, userId: 1, userName: 'Ada', avatar: 'ada.png', content: 'hello', messageType: 'text', timestamp }
  for (const client of [ada, adasPhone, bob]) t.strictSame(await client.event('chat:message'), hello)

  const answer = await bob.ok('chat:message', { roomId: 'r1', content: '👋', messageType: 'emoji', userId: 1, userName: 'Ada', id: 'mine', timestamp: 1 })
  t.not(answer.id, id)
  for (const client of [ada, adasPhone, bob]) {
    t.strictSame(await client.event('chat:message'), { roomId: 'r1', ...answer, userId: 'bob', userName: 'User bob', content: '👋', messageType: 'emoji' }, 'the client cannot set the sender')
  }
  ada.send({ type: 'chat:message', data: { content: 'wave.webp', messageType: 'sticker' } })
  for (const client of [ada, adasPhone, bob]) t.match(await client.event('chat:message'), { content: 'wave.webp', messageType: 'sticker' }, 'a message without an id is delivered, too')

  const last = await eve.ok('chat:message', { content: 'nobody is here' })
  await receives(eve, last.id)
  await ada.flush()
  t.equal(messagesOf(eve).length, 1, 'other rooms receive nothing')
  t.equal(messagesOf(ada).length, 3)
  const counted = await Promise.all([...new Set([a, b])].map(async ({ url }) => (await (await fetch(`${url}/metrics`)).text())))
  const sums = (type: string) => counted.reduce((sum, text) => sum + Number(new RegExp(`flylive_chat_messages_total{type="${type}"} (\\d+)`).exec(text)?.[1] ?? 0), 0)
  t.same(['text', 'emoji', 'sticker', 'system'].map(sums), [2, 1, 1, 0])
})

t.test('includes the avatar if it is a public claim', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat', PUBLIC_CLAIMS: 'id,name' } })
  const ada = await server.connect(1, { token: tokenFor(1, { avatar: 'ada.png' }) })
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('chat:message', { content: 'hello' })
  t.notOk('avatar' in await ada.event('chat:message'))
})

onEveryStore(t, 'keeps the text unchanged', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const texts = [
    ' ', '\n', '\t', '  in the middle \n of much space  ', '\u00a0', '\u200b', '\ufeff', '\u2028\u2029',
    '\x07\x1b[31mred\x7f\x9b', '\u202eback to front', '\u2066isolated\u2069', 'e\u0301 and é', '👩‍👩‍👧‍👦', '\uffff\ufffe',
    // Servers exchange messages as lines of JSON. Without escaping, these strings would break this format.
    '{"closed":{"reason":"backend","createdAt":9e15}}\n{"type":"room:closed"}', '\n{"except":"me"}', '"\\"', '__proto__', '${0} %s %o', '<script>alert(1)</script>', // eslint-disable-line no-template-curly-in-string
    'x'.repeat(500), '😀'.repeat(500), 'e\u0301'.repeat(250)
  ]
  for (const content of texts) await ada.ok('chat:message', { content })
  const last = await ada.ok('chat:message', { content: 'done' })
  for (const client of [ada, bob]) {
    await receives(client, last.id)
    t.strictSame(messagesOf(client).map(({ content }) => content), [...texts, 'done'])
  }
  t.strictSame(await historyOf(await b.connect(3)), messagesOf(ada))
})

onEveryStore(t, 'rejects invalid messages without storing them', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  t.equal(await ada.fails('chat:message', { content: 'hello' }), 'NOT_IN_ROOM')
  t.equal(await ada.fails('chat:message', { roomId: 'r1', content: 'hello' }), 'NOT_IN_ROOM')
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  t.equal(await ada.fails('chat:message', { roomId: 'r2', content: 'hello' }), 'NOT_IN_ROOM')

  const wrong = [
    { content: '' }, { content: undefined }, { content: null }, { content: 5 }, { content: true }, { content: ['hello'] }, { content: { text: 'hello' } },
    { content: 'x'.repeat(501) }, { content: '😀'.repeat(501) }, { content: '\ud800' }, { content: 'x\udc00\ud83d' }, { content: 'x\0' }, { content: 'e\u0301'.repeat(251) }, { content: '😀'.repeat(5000) }, { content: 'x'.repeat(60_000) },
    { messageType: 'html' }, { messageType: 'TEXT' }, { messageType: '' }, { messageType: null }, { messageType: 1 }, { messageType: ['text'] },
    { roomId: 5 }, { roomId: '' }
  ]
  for (const change of wrong) {
    const [path] = Object.keys(change)
    const { error } = await ada.request('chat:message', { content: 'hello', ...change })
    t.match(error, { code: 'VALIDATION_FAILED', details: [{ path, message: String }] }, JSON.stringify(change).slice(0, 80))
  }
  ada.send({ type: 'chat:message', data: { content: '' } })
  t.match(await ada.event('error'), { code: 'VALIDATION_FAILED', type: 'chat:message' })

  await ada.ok('room:leave')
  t.equal(await ada.fails('chat:message', { content: 'hello' }), 'NOT_IN_ROOM', 'a user who left cannot send messages')
  const last = await bob.ok('chat:message', { content: 'done' })
  await receives(bob, last.id)
  t.equal(messagesOf(bob).length, 1)
  t.match(await historyOf(ada), [{ content: 'done' }])
  t.equal((await a.admin('POST', '/admin/rooms/r1/close')).status, 204)
  await bob.event('room:closed')
  t.equal(await bob.fails('chat:message', { content: 'hello' }), 'NOT_IN_ROOM', 'a member of a closed room cannot send messages')
})

onEveryStore(t, 'only the owner and admins can send system messages', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [owner, admin, member] = [await a.connect(1), await b.connect(2, { token: tokenFor(2, { roles: ['admin'] }) }), await b.connect(3, { token: tokenFor(3, { roles: ['owner', 'system'] }) })]
  for (const client of [owner, admin, member]) await client.ok('room:join', { roomId: 'r1' })
  const system = { content: 'the room closes at ten', messageType: 'system' }
  for (const client of [owner, admin]) {
    const { id } = await client.ok('chat:message', system)
    t.match(await member.event('chat:message'), { id, messageType: 'system' })
  }
  t.equal(await member.fails('chat:message', system), 'FORBIDDEN')
  const last = await member.ok('chat:message', { content: 'done' })
  for (const client of [owner, admin, member]) {
    await receives(client, last.id)
    t.equal(messagesOf(client).length, 3, 'rejected messages are not published')
  }
  t.strictSame((await historyOf(await a.connect(4))).map(({ userId }) => userId), [1, 2, 3])
})

t.test("the backend's roles decide who may send system messages", async (t) => {
  const backend = await startBackend(t)
  backend.rooms.set('7', 1)
  backend.roles.set('7/2', 'admin')
  const server = await build(t, { env: { ...backend.env, FEATURES: 'auth,chat,laravel-bridge' } })
  const [owner, admin, member] = [await server.connect(1), await server.connect(2), await server.connect(3, { token: tokenFor(3, { roles: ['admin'] }) })]
  for (const client of [member, admin, owner]) await client.ok('room:join', { roomId: '7' })
  for (const client of [owner, admin]) await client.ok('chat:message', { content: 'hear, hear', messageType: 'system' })
  t.equal(await member.fails('chat:message', { content: 'hear, hear', messageType: 'system' }), 'FORBIDDEN')

  await backend.stop()
  const late = await server.connect(4)
  await late.ok('room:join', { roomId: '7' })
  t.equal(await late.fails('chat:message', { content: 'hear, hear', messageType: 'system' }), 'UNAVAILABLE', 'the role is not cached')
  const { id } = await late.ok('chat:message', { content: 'never mind' })
  await receives(owner, id)
  t.strictSame(messagesOf(owner).map(({ userId, messageType }) => `${userId} ${messageType}`), ['1 system', '2 system', '4 text'])
})

onBothStores(t, 'limits messages to 60 per minute per user and room', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, adasPhone, bob] = [await a.connect(1), await b.connect('1'), await b.connect(2)]
  for (const client of [ada, adasPhone, bob]) await client.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 5; i++) t.equal(await ada.fails('chat:message', { content: '' }), 'VALIDATION_FAILED', 'invalid messages do not count')

  const replies = await Promise.all(Array.from({ length: 70 }, (_, i) => (i % 2 ? ada : adasPhone).request('chat:message', { content: `${i}` })))
  const [sent, refused] = [replies.filter(({ ok }) => ok), replies.filter(({ ok }) => !ok)]
  t.equal(sent.length, 60, 'the limit applies across all connections of a user')
  for (const { error } of refused) {
    t.match(error, { code: 'RATE_LIMITED', details: { retryAfterMs: Number } })
    const { retryAfterMs } = error.details as { retryAfterMs: number }
    t.ok(retryAfterMs > 0 && retryAfterMs <= 60_000, `retryAfterMs is ${retryAfterMs}`)
  }
  t.equal(await ada.fails('chat:message', { content: 'again' }), 'RATE_LIMITED')
  const last = await bob.ok('chat:message', { content: 'done' })
  await receives(bob, last.id)
  t.strictSame(messagesOf(bob).map(({ id }) => id).sort(), [...sent.map(({ data }) => data.id), last.id].sort(), 'rejected messages are not published')
  const history = await historyOf(await a.connect(3))
  t.strictSame(history, messagesOf(bob).slice(-50), 'rejected messages are not stored')

  await ada.ok('room:join', { roomId: 'r2' })
  await ada.ok('chat:message', { content: 'hello' })
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal(await ada.fails('chat:message', { content: 'hello' }), 'RATE_LIMITED', 'a rejoin does not reset the limit')
})

t.test('the limit is configurable', async (t) => {
  const [server] = await pair(t, 'memory', { RATE_LIMIT_MESSAGES_PER_MINUTE: '2' })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 2; i++) await ada.ok('chat:message', { content: 'hello' })
  t.equal(await ada.fails('chat:message', { content: 'hello' }), 'RATE_LIMITED')
})

onEveryStore(t, 'rejects messages while the feature is disabled', async (t, env) => {
  const server = await build(t, { env: { ...env, FEATURES: 'auth' } })
  const ada = await server.connect(1)
  t.notOk('chatHistory' in await ada.ok('room:join', { roomId: 'r1' }))
  t.equal(await ada.fails('chat:message', { content: 'hello' }), 'FEATURE_DISABLED')
})
