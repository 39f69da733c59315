import t from 'tap'
import { startBackend } from '../../support/backend.ts'
import { onBothStores, onEveryStore } from '../../support/build.ts'
import { messagesOf, pair, receives, wholeHistoryOf } from './support.ts'

const [rounds, each] = [8, 6]

onBothStores(t, 'members receive messages in the order of the history', async (t, env, kind) => {
  const servers = await pair(t, kind, { ...env, CHAT_HISTORY: '1000' })
  const writers = await Promise.all(Array.from({ length: 6 }, (_, i) => servers[i % 2 as 0 | 1].connect(i)))
  const watchers = await Promise.all(servers.map((server, i) => server.connect(`watcher${i}`)))
  for (const client of [...writers, ...watchers]) await client.ok('room:join', { roomId: 'r1' })

  const sent = writers.map((): Record<string, unknown>[] => [])
  for (let round = 0; round < rounds; round++) {
    await Promise.all(writers.map(async (client, i) => {
      sent[i]?.push(...await Promise.all(Array.from({ length: each }, (_, n) => client.ok('chat:message', { content: `${round * each + n}` }))))
    }))
  }
  const last = await writers[0]?.ok('chat:message', { content: 'done' })
  for (const client of [...writers, ...watchers]) await receives(client, last?.id)

  const [received] = watchers.map(messagesOf)
  t.equal(received?.length, 6 * rounds * each + 1)
  t.equal(new Set(received?.map(({ id }) => id)).size, received?.length, 'each message arrives once')
  for (const client of [...writers, ...watchers]) t.strictSame(messagesOf(client), received)
  for (const [i, replies] of sent.entries()) {
    const own = received?.filter(({ userId, content }) => userId === i && content !== 'done')
    t.strictSame(own?.map(({ content }) => Number(content)), Array.from({ length: rounds * each }, (_, n) => n), 'messages of one sender stay in order')
    t.strictSame(own?.map(({ id, timestamp }) => ({ id, timestamp })), replies)
  }
  for (const server of servers) t.strictSame(await wholeHistoryOf(await server.connect('late')), received)
})

onEveryStore(t, 'a user who joins during a conversation misses no message', async (t, env, kind) => {
  const backend = await startBackend(t)
  backend.rooms.set('r1', 'somebody else')
  backend.fault({ call: 'role', kind: 'slow', ms: 30 })
  const servers = await pair(t, kind, { ...env, ...backend.env, FEATURES: 'auth,chat,laravel-bridge', CHAT_HISTORY: '1000', RATE_LIMIT_MESSAGES_PER_MINUTE: '1000' })
  const writers = await Promise.all(servers.map((server, i) => server.connect(`writer${i}`)))
  const late = await Promise.all(Array.from({ length: 16 }, (_, i) => servers[i % 2 as 0 | 1].connect(i)))
  for (const client of writers) await client.ok('room:join', { roomId: 'r1' })

  const histories = []
  for (const client of late) {
    const coming = wholeHistoryOf(client)
    for (let n = 0; n < 8; n++) await Promise.all(writers.map((writer) => writer.ok('chat:message', { content: `${n}` })))
    histories.push(await coming)
  }
  const last = await writers[0]?.ok('chat:message', { content: 'done' })
  for (const client of [...writers, ...late]) await receives(client, last?.id)

  const [all = []] = writers.map((client) => messagesOf(client).map(({ id }) => id))
  t.equal(all.length, 16 * 8 * 2 + 1)
  for (const [i, client] of late.entries()) {
    const history = (histories[i] ?? []).map(({ id }) => id)
    const known = new Set(history)
    // A message sent during the join may be in the history and also arrive as an event.
    const events = messagesOf(client).map(({ id }) => id).filter((id) => !known.has(id))
    t.strictSame([...history, ...events], all, `${history.length} before, ${events.length} since`)
  }
})
