import t from 'tap'
import { onBothStores, onEveryStore } from '../../support/build.ts'
import { config } from '../../../features/reactions/config.ts'
import { until } from '../../support/retry.ts'
import { pair, sumOf, reactionsOf } from './support.ts'

const { emojis } = config.parse({})

onBothStores(t, 'sends a reaction to everyone in a small room immediately', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, adasPhone, bob, eve] = [await a.connect(1), await b.connect(1), await b.connect('bob'), await a.connect(3)]
  for (const client of [ada, adasPhone, bob]) await client.ok('room:join', { roomId: 'r1' })
  await eve.ok('room:join', { roomId: 'r2' })

  t.same(await ada.ok('room:react', { emoji: '🔥' }), {})
  for (const client of [ada, adasPhone, bob]) t.strictSame(await client.event('room:reaction'), { roomId: 'r1', userId: 1, emoji: '🔥' })
  t.same(await bob.ok('room:react', { roomId: 'r1', emoji: '❤️', userId: 1 }), {})
  for (const client of [ada, adasPhone, bob]) t.strictSame(await client.event('room:reaction'), { roomId: 'r1', userId: 'bob', emoji: '❤️' }, 'the client cannot set the sender')

  await eve.ok('room:react', { emoji: '👏' })
  t.strictSame(await eve.event('room:reaction'), { roomId: 'r2', userId: 3, emoji: '👏' })
  for (const client of [ada, adasPhone, bob]) {
    await client.flush()
    t.equal(reactionsOf(client).length, 2, 'reactions are sent only to this room')
  }
  t.match(await (await fetch(`${a.url}/metrics`)).text(), /flylive_reactions_total\{emoji="🔥"\} 1/)
  const { body } = await a.admin('GET', '/admin/rooms/r1')
  t.ok(Number(body?.lastActivityAt) > Number(body?.createdAt), 'a reaction counts as activity')
})

onEveryStore(t, 'accepts only the reactions listed in the join reply', async (t, env, kind) => {
  const [a] = await pair(t, kind, env)
  const ada = await a.connect(1)
  t.equal(await ada.fails('room:react', { emoji: '🔥' }), 'NOT_IN_ROOM')
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { reactions: { emojis } })
  t.equal(emojis.length, 12)
  t.equal(new Set(emojis).size, 12)

  t.match(await ada.request('room:react', { emoji: '💩' }), { ok: false, error: { code: 'EMOJI_NOT_ALLOWED', details: { allowed: emojis } } })
  // The server compares emojis as strings, so a heart without a variation selector is a different emoji.
  t.equal(await ada.fails('room:react', { emoji: '❤' }), 'EMOJI_NOT_ALLOWED')
  t.equal(await ada.fails('room:react', { emoji: '__proto__' }), 'EMOJI_NOT_ALLOWED')
  t.equal(await ada.fails('room:react', { emoji: '🔥', roomId: 'r2' }), 'NOT_IN_ROOM')
  for (const emoji of ['', 'x'.repeat(65), 3, undefined, null]) t.equal(await ada.fails('room:react', { emoji }), 'VALIDATION_FAILED', String(emoji))
  for (const emoji of emojis) await ada.ok('room:react', { emoji })
  await ada.event('room:reaction', ({ emoji }) => emoji === emojis.at(-1))
  t.strictSame(sumOf(ada), Object.fromEntries(emojis.map((emoji) => [emoji, 1])))
})

onBothStores(t, 'limits reactions per user per minute across all servers and rooms', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env, { reactionsPerMinute: 5 })
  const [ada, adasPhone, bob] = [await a.connect(1), await b.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await adasPhone.ok('room:join', { roomId: 'r2' })
  for (let i = 0; i < 5; i++) await (i % 2 ? ada : adasPhone).ok('room:react', { emoji: '🎉' })
  for (const client of [ada, adasPhone]) t.match(await client.request('room:react', { emoji: '🎉' }), { error: { code: 'RATE_LIMITED', details: { retryAfterMs: Number } } })
  await bob.ok('room:react', { emoji: '👍' })
  await ada.event('room:reaction', ({ emoji }) => emoji === '👍')
  t.strictSame(sumOf(ada), { '🎉': 2, '👍': 1 }, 'rejected reactions are not published')
})

onEveryStore(t, 'an admin changes all settings at run time', async (t, env, kind) => {
  const [a, b] = await pair(t, kind, env)
  const [ada, bob] = [await a.connect(1), await b.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const patch = (body: unknown) => a.admin('PATCH', '/admin/features/reactions/config', body)
  for (const wrong of [{ emojis: [] }, { emojis: ['x'.repeat(65)] }, { emojis: '🔥' }, { reactionsPerMinute: 0 }, { coalesceOver: -1 }, { emoji: ['🔥'] }]) {
    t.match(await patch(wrong), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } }, JSON.stringify(wrong))
  }
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { reactions: { emojis } })

  t.match(await patch({ emojis: ['🦄', 'logo'], reactionsPerMinute: 3, coalesceOver: 1 }), { status: 200, body: { config: { emojis: ['🦄', 'logo'], reactionsPerMinute: 3, coalesceOver: 1 } } })
  const eve = await b.connect(3)
  await until(async () => (await eve.ok('room:join', { roomId: 'r1' }) as { reactions: { emojis: string[] } }).reactions.emojis.length === 2)
  t.match(await bob.request('room:react', { emoji: '🔥' }), { error: { code: 'EMOJI_NOT_ALLOWED', details: { allowed: ['🦄', 'logo'] } } })
  await ada.ok('room:react', { emoji: 'logo' })
  t.same(await bob.event('room:reactions'), { roomId: 'r1', counts: { logo: 1 } }, 'the room is big now')
  for (let i = 0; i < 2; i++) await ada.ok('room:react', { emoji: '🦄' })
  t.equal(await ada.fails('room:react', { emoji: '🦄' }), 'RATE_LIMITED')

  t.match(await patch({ emojis: null, coalesceOver: null }), { status: 200, body: { config: { emojis, reactionsPerMinute: 3, coalesceOver: 50 } } })
})

t.test('rejects reactions and adds nothing to join replies while disabled', async (t) => {
  const [server] = await pair(t, 'memory', {})
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  t.equal((await server.admin('POST', '/admin/features/reactions/disable')).status, 200)
  t.match(await ada.event('feature:disabled'), { name: 'reactions' })
  t.equal(await ada.fails('room:react', { emoji: '🔥' }), 'FEATURE_DISABLED')
  t.notOk('reactions' in await ada.ok('room:join', { roomId: 'r1' }))
  t.equal((await server.admin('POST', '/admin/features/reactions/enable')).status, 200)
  await ada.ok('room:react', { emoji: '🔥' })
})
