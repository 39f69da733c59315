import t from 'tap'
import type { TestClient } from '../support/client.ts'
import { build, onEveryStore, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { emptyArray } from '../support/empty-array.ts'
import { until } from '../support/retry.ts'
import { rtpParameters } from '../support/rtp.ts'

const limit = 65_536

/** Records the sizes of the frames that a client receives, in bytes. */
function sizesOf (client: TestClient): number[] {
  const sizes: number[] = []
  client.ws.on('message', (raw) => sizes.push((raw as Buffer).length))
  return sizes
}

/** Connects a user whose profile contains a token claim of `bytes` bytes. */
async function connectLarge (server: TestServer, userId: number, bytes: number): Promise<TestClient> {
  return await server.connect(userId, { token: tokenFor(userId, { signature: 'x'.repeat(bytes) }) })
}

onEveryStore(t, 'the join reply of a large room is at most 64 KiB', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,lobby', RATE_LIMIT_MESSAGES_PER_MINUTE: '1000', CHAT_HISTORY: '100', ...env } })
  const members = await Promise.all(Array.from({ length: 40 }, (_, i) => connectLarge(server, i + 1, 3500)))
  for (const member of members) await member.ok('room:join', { roomId: 'r1' })
  for (let i = 0; i < 60; i++) await members[0]?.ok('chat:message', { content: 'y'.repeat(400) + i })
  const late = await server.connect(99)
  const sizes = sizesOf(late)
  const joined = await late.ok('room:join', { roomId: 'r1' })
  const { participants, participantCount, chatHistory } = joined as { participants: object[], participantCount: number, chatHistory: { id: string, content: string }[] }
  t.equal(participantCount, 41)
  t.ok(participants.length > 10 && participants.length < 20, `${participants.length} participants fit`)
  t.ok(JSON.stringify(chatHistory).length <= 16_384 && chatHistory.at(-1)?.content.endsWith('59'), 'the reply contains the newest messages, at most 16 KiB')

  const seen = new Set<number>()
  for (let cursor: unknown; cursor !== null;) {
    const page: { participants: { userId: number }[], nextCursor: string | null } = await late.ok('room:participants', { limit: 200, ...(cursor === undefined ? {} : { cursor }) }) as never
    for (const { userId } of page.participants) seen.add(userId)
    cursor = page.nextCursor
  }
  t.equal(seen.size, 41, 'the pages list every participant')

  const contents = chatHistory.map(({ content }) => content)
  for (let before: string | null = chatHistory[0]?.id ?? null; before !== null;) {
    const page: { messages: { content: string }[], nextCursor: string | null } = await late.ok('chat:history', { before, limit: 13 }) as never
    t.ok(page.messages.length <= 13)
    contents.unshift(...page.messages.map(({ content }) => content))
    before = page.nextCursor
  }
  t.same(contents, Array.from({ length: 60 }, (_, i) => 'y'.repeat(400) + i), 'the pages contain the whole history, in order')
  t.match(await late.ok('chat:history', { limit: 2 }), { messages: [{ content: /58$/ }, { content: /59$/ }], nextCursor: String })
  t.match(await late.ok('chat:history', { before: 'nothing' }), { messages: emptyArray, nextCursor: null })

  await late.ok('lobby:list')
  t.ok(sizes.every((size) => size <= limit), `the largest frame has ${Math.max(...sizes)} bytes`)
})

t.test('a join reply is at most 64 KiB even if the server underestimates its size', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  // The server estimates the size from the first, the middle and the last profile.
  const members = await Promise.all(Array.from({ length: 30 }, (_, i) => connectLarge(server, i + 1, i % 15 === 0 ? 1 : 3500)))
  for (const member of members) await member.ok('room:join', { roomId: 'r1' })
  const late = await server.connect(99)
  const sizes = sizesOf(late)
  const { participants } = await late.ok('room:join', { roomId: 'r1' }) as { participants: object[] }
  t.ok(participants.length > 15 && participants.length < 25, `${participants.length} participants fit`)
  t.ok(sizes.every((size) => size <= limit), `the largest frame has ${Math.max(...sizes)} bytes`)
})

onEveryStore(t, 'a lobby page is at most 64 KiB, and the pages together list every room', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth,lobby', FEATURES_CONFIG: '{"lobby":{"cacheMs":0,"people":20}}', ...env } })
  for (let i = 0; i < 30; i++) await (await connectLarge(server, i + 1, 3900)).ok('room:join', { roomId: `r${i}` })
  for (let i = 0; i < 20; i++) await (await connectLarge(server, i + 100, 3900)).ok('room:join', { roomId: 'r0' })
  const looker = await server.connect(99)
  const sizes = sizesOf(looker)
  const rooms = new Set<string>()
  for (let cursor: unknown; cursor !== null;) {
    const page: { rooms: { roomId: string }[], nextCursor: string | null } = await looker.ok('lobby:list', { limit: 100, ...(cursor === undefined ? {} : { cursor }) }) as never
    for (const { roomId } of page.rooms) rooms.add(roomId)
    cursor = page.nextCursor
  }
  t.equal(rooms.size, 30)
  t.ok(sizes.every((size) => size <= limit))
})

t.test('a burst of joins is announced in events of at most 64 KiB and 20 profiles', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', PRESENCE_COALESCE_OVER: '1' } })
  const ada = await server.connect('ada')
  await ada.ok('room:join', { roomId: 'r1' })
  const sizes = sizesOf(ada)
  const members = await Promise.all(Array.from({ length: 90 }, (_, i) => connectLarge(server, i + 1, 3900)))
  await Promise.all(members.map((member) => member.ok('room:join', { roomId: 'r1' })))
  const named = () => ada.events.filter(({ type }) => type === 'room:presence').flatMap(({ data }) => data.joined as { userId: number }[])
  await until(() => named().length >= 90)
  t.equal(new Set(named().map(({ userId }) => userId)).size, 90, 'each user is announced once')
  const parts = ada.events.filter(({ type }) => type === 'room:presence').map(({ data }) => (data.joined as unknown[]).length)
  t.ok(parts.every((count) => count <= 20), `${parts.join(', ')} profiles`)
  t.ok(sizes.every((size) => size <= limit))
  t.equal(ada.ws.readyState, ada.ws.OPEN)
})

t.test('a profile of more than 4 KiB loses its largest claims', async (t) => {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth', PUBLIC_CLAIMS: 'id,name,avatar,signature,country' }, log: (line) => lines.push(line) })
  const claims = { signature: 's'.repeat(3000), avatar: 'a'.repeat(5000), country: 'DE', name: 'n'.repeat(200) }
  for (let i = 0; i < 2; i++) {
    const client = await server.connect(1, { token: tokenFor(1, claims) })
    const { participants } = await client.ok('room:join', { roomId: 'r1' })
    t.same(participants, [{ userId: 1, id: 1, name: claims.name, signature: claims.signature, country: 'DE' }])
  }
  t.match(lines.filter(({ msg }) => /4 KiB/.test(String(msg))), [{ level: 40, userId: 1, removed: ['avatar'] }], 'one warning per user')
  const client = await server.connect(2, { token: tokenFor(2, { ...claims, signature: 's'.repeat(4000) }) })
  t.same((await client.ok('room:join', { roomId: 'r2' })).participants, [{ userId: 2, id: 2, name: claims.name, country: 'DE' }])
})

t.test('producers that do not fit into the join reply are announced after it', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,media' } })
  const members = await Promise.all(Array.from({ length: 12 }, (_, i) => server.connect('字'.repeat(120) + i)))
  for (const member of members) {
    await member.ok('room:join', { roomId: 'r1' })
    const { id: transportId } = await member.ok('transport:create', { type: 'producer' })
    for (let i = 0; i < 4; i++) await member.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() })
  }
  const producerId = String(server.app.sfu.producersOf('r1').at(-1)?.producerId)
  await members.at(-1)?.ok('audio:selfMute', { producerId })
  const late = await server.connect('late')
  const sizes = sizesOf(late)
  const { existingProducers } = await late.ok('room:join', { roomId: 'r1' }) as { existingProducers: { producerId: string }[] }
  t.ok(existingProducers.length > 20 && existingProducers.length < 48, `${existingProducers.length} producers fit`)
  t.match(await late.event('audio:producerPaused'), { producerId })
  const announced = late.events.filter(({ type }) => type === 'audio:newProducer').map(({ data }) => data.producerId)
  t.same([...existingProducers.map(({ producerId }) => producerId), ...announced].sort(), server.app.sfu.producersOf('r1').map(({ producerId }) => producerId).sort())
  t.ok(Math.max(...sizes) <= limit)
})
