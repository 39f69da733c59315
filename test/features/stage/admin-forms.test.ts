import t from 'tap'
import { z } from 'zod'
import { changesOf, fieldsOf, problemsOf } from '../../../features/stage/pages/admin/config-form.ts'
import { hashOf, placeOf } from '../../../features/stage/pages/admin/place.ts'
import { nameIn, sameUser } from '../../../features/stage/pages/admin/people.ts'
import { adminStrings } from '../../../features/stage/pages/strings.ts'

const schema = z.toJSONSchema(z.object({
  limit: z.int().min(1).max(100).default(20).describe('A minute'),
  factor: z.number().optional(),
  longest: z.int().max(9).optional().describe('In seconds. Environment variable: LONGEST.'),
  loud: z.boolean().default(true),
  mode: z.enum(['calm', 'wild']).optional(),
  greeting: z.string().optional(),
  words: z.array(z.string()).optional(),
  levels: z.array(z.enum(['a', 'b'])).optional(),
  rules: z.record(z.string(), z.number()).optional()
}), { io: 'input' }) as Record<string, unknown>

t.test('creates fields from a schema', async (t) => {
  const fields = fieldsOf(schema, { limit: 20, loud: false, words: ['one', 'two'], rules: { x: 1 } })
  t.same(fields.map(({ name, kind, text }) => [name, kind, text]), [
    ['limit', 'number', '20'],
    ['factor', 'number', ''],
    ['longest', 'number', ''],
    ['loud', 'choice', 'false'],
    ['mode', 'choice', ''],
    ['greeting', 'text', ''],
    ['words', 'lines', 'one\ntwo'],
    ['levels', 'json', ''],
    ['rules', 'json', '{\n  "x": 1\n}']
  ])
  t.equal(fields[0]?.help, 'A minute. 1 to 100. Default: 20')
  t.equal(fields[1]?.help, '')
  t.equal(fields[2]?.help, 'In seconds. Environment variable: LONGEST. At most 9')
  t.equal(fields[3]?.help, 'Default: On')
  t.same(fields[4]?.choices, [['calm', 'calm'], ['wild', 'wild']])
  t.same(fieldsOf({}, {}), [])
})

t.test('derives the changed settings from the input', async (t) => {
  const fields = fieldsOf(schema, { limit: 20, loud: false, words: ['one', 'two'], greeting: 'hello' })
  const same = Object.fromEntries(fields.map(({ name, text }) => [name, text]))
  t.same(changesOf(fields, same), { changes: {}, problems: {} }, 'unchanged values are not sent')
  t.same(changesOf(fields, { limit: ' 30 ', factor: '-1.5', loud: 'true', mode: 'wild', greeting: 'good evening', words: 'one\n\n  three ', levels: '["a"]', rules: '{"y":2}' }), {
    changes: { limit: 30, factor: -1.5, loud: true, mode: 'wild', greeting: 'good evening', words: ['one', 'three'], levels: ['a'], rules: { y: 2 } },
    problems: {}
  })
  t.same(changesOf(fields, {}), { changes: { limit: null, loud: null, greeting: null, words: null }, problems: {} }, 'an emptied field resets the setting')
  t.same(changesOf(fields, { ...same, limit: 'many', rules: '{' }), {
    changes: {}, problems: { limit: 'Enter a number.', rules: 'Invalid JSON.' }
  })
  t.same(changesOf(fields, { ...same, limit: '101', longest: '10' }).problems, { limit: 'Enter a number: 1 to 100.', longest: 'Enter a number: at most 9.' })
})

t.test('assigns validation errors to their fields', async (t) => {
  const fields = fieldsOf(schema, {})
  t.same(problemsOf(fields, [{ path: 'limit', message: 'too small' }, { path: 'words.3', message: 'too long' }, { path: 'words.4', message: 'too long, too' }, { path: '', message: 'unknown key' }]),
    { limit: 'too small', words: 'too long', '': 'unknown key' })
  t.same(problemsOf(fields, undefined), {})
})

t.test('the URL contains the view', async (t) => {
  for (const place of [{ section: 'rooms' }, { section: 'gifts' }, { section: 'rooms', roomId: 'a.b:c_d-e' }] as const) t.same(placeOf(hashOf(place)), place)
  for (const [hash, place] of [['', { section: 'rooms' }], ['#', { section: 'rooms' }], ['#nonsense', { section: 'rooms' }], ['#rooms/', { section: 'rooms' }], ['#rooms/%', { section: 'rooms' }], ['#features/x', { section: 'features' }]] as const) {
    t.same(placeOf(hash), place, hash)
  }
})

t.test('formats names and durations', async (t) => {
  const room = { participants: [{ userId: 1, name: 'Ada' }, { userId: '2', name: '' }, { userId: 3 }] }
  t.same([nameIn(room, '1'), nameIn(room, 2), nameIn(room, 3), nameIn(room, 'gone')], ['Ada', '2', '3', 'gone'])
  t.ok(sameUser('7', 7))
  const times = [[-5, '0 s'], [0, '0 s'], [999, '0 s'], [59_999, '59 s'], [60_000, '1 min'], [3_600_000, '1 h'], [200_000_000, '2 d']] as const
  for (const [ms, text] of times) t.equal(adminStrings.duration(ms), text)
  t.equal(adminStrings.ago(500), 'just now')
  t.equal(adminStrings.onAir.milliseconds(-20), '0.0 s', 'a delay is never negative')
  t.equal(adminStrings.ago(61_000), '1 min ago')
})
