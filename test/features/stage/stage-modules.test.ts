import { mock } from 'node:test'
import t from 'tap'
import { initialsOf, isolated, nameOf } from '../../../features/stage/pages/stage/faces.ts'
import { loadIdentity, saveIdentity, shortName } from '../../../features/stage/pages/stage/identity.ts'
import { loudness } from '../../../features/stage/pages/stage/microphone.ts'
import { createShows } from '../../../features/stage/pages/stage/shows.ts'
import { createMemory } from '../../../features/stage/pages/stage/storage.ts'
import { createTalk } from '../../../features/stage/pages/stage/talk.ts'

const message = (n: number) => ({ roomId: 'r1', id: `m${n}`, userId: 1, userName: 'Ada', content: `line ${n}`, messageType: 'text' as const, timestamp: n })

t.test('isolates the text direction of names', async (t) => {
  t.equal(nameOf({ userId: 1, id: 1, name: 'Ada' }), 'Ada')
  t.equal(nameOf({ userId: 1, id: 1, name: ' \u202e ' }), 'Someone')
  t.equal(nameOf(undefined), 'Someone')
  t.equal(nameOf({ userId: 1, id: 1, name: '\u202eevil' }), 'evil')
  t.equal(nameOf({ userId: 1, id: 1, name: 'مرحبا\u2069' }), '\u2068مرحبا\u2069')
  t.equal(isolated('مرحبا'), '\u2068مرحبا\u2069')
})

t.test('initials are whole characters', async (t) => {
  t.equal(initialsOf('  ada  lovelace king '), 'AL')
  t.equal(initialsOf('👩‍👩‍👧‍👦 e\u0301mile'), '👩‍👩‍👧‍👦E\u0301')
  t.equal(initialsOf('\u2068مرحبا\u2069'), 'م')
  t.equal(initialsOf(''), '')
})

t.test('truncates names at grapheme boundaries', async (t) => {
  t.equal(shortName('  Ada '), 'Ada')
  t.equal(shortName('n'.repeat(60)), 'n'.repeat(40))
  t.equal(shortName(`${'n'.repeat(39)}😀`), 'n'.repeat(39))
})

t.test('falls back to memory when storage is blocked', async (t) => {
  const blocked = createMemory(() => { throw new DOMException('', 'SecurityError') })
  t.equal(blocked.get('name'), undefined)
  blocked.set('name', 'Ada')
  t.equal(blocked.get('name'), 'Ada')
  // Node has no localStorage by default, so these calls use the fallback.
  saveIdentity({ name: 'Ada', colour: 'no colour' })
  t.match(loadIdentity(), { name: 'Ada', colour: /^#[0-9a-f]{6}$/ })
})

t.test('loudness is between 0 and 1', async (t) => {
  t.same([0, -1, 0.001, 1].map(loudness), [0, 0, 0, 1])
  t.ok(Math.abs(loudness(10 ** (-30 / 20)) - 0.5) < 1e-9, 'half-way between -50 and -10 dB')
})

t.test('adds each message once and drops the oldest messages', async (t) => {
  const talk = createTalk()
  for (let n = 0; n < 250; n++) talk.message(message(n))
  talk.message(message(249))
  t.equal(talk.lines.length, 200)
  t.equal(talk.lines.at(-1)?.key, 'm249')
  t.equal(talk.unread.value, 250, 'new lines are counted after old lines are dropped')
  talk.read()
  t.equal(talk.unread.value, 0)
})

t.test('removes the messages that were deleted while the client was disconnected', async (t) => {
  const talk = createTalk()
  for (let n = 1; n <= 5; n++) talk.message(message(n))
  talk.event('Recording started')
  talk.removeDeleted([])
  t.equal(talk.lines.length, 6, 'without a history, it is unknown which messages were deleted')
  talk.removeDeleted([message(2), message(4), message(6)])
  t.same(talk.lines.map(({ key }) => key), ['m1', 'm2', 'm4', 'event 1'], 'older messages are not in the history')

  const late = createTalk()
  for (let n = 3; n <= 5; n++) late.message(message(n))
  late.removeDeleted([message(1), message(3), message(5)])
  t.same(late.lines.map(({ key }) => key), ['m3', 'm5'], 'the history begins before the first message of the client')
})

t.test('limits a flood of reactions and gifts', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const shows = createShows()
  shows.react('👏', 5000)
  t.ok(shows.reactions.length <= 24)
  for (let i = 0; i < 100; i++) shows.react('👏', 1, 'Ada')
  t.equal(shows.reactions.length, 24)
  for (let i = 0; i < 10; i++) shows.give('🎁', `gift ${i}`)
  t.same(shows.gifts.map(({ text }) => text), ['gift 7', 'gift 8', 'gift 9'])
  t.ok(shows.reactions.every(({ place }) => place >= 0 && place < 1))
  mock.timers.tick(10_000)
  t.same([shows.reactions.length, shows.gifts.length], [0, 0])
})
