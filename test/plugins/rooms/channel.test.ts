import t from 'tap'
import { createEvent } from '../../../plugins/connections/face.ts'
import { parseMessage, stateMessage, withVersion } from '../../../plugins/rooms/channel.ts'

/** Parses a message about a state change, including the state in it. */
function readState (message: string | undefined) {
  const parsed = parseMessage(message ?? '')
  if (parsed.kind !== 'state') return parsed
  const { header: { name, from, readState }, version, events } = parsed
  return { name, from, state: readState(), version, events: events.map(({ text }) => text) }
}

t.test('reads back the name, the state and the versions of a change of state', (t) => {
  const state = { text: '"}}\n\\', list: [1, { a: null }] }
  const events = [createEvent('x:one', { n: 1 }), createEvent('x:two', {})]
  for (const name of ['seats', 'a"b\\c', '{']) {
    for (const from of ['', '17.3']) {
      const message = withVersion(stateMessage({ name, from, state: JSON.stringify(state) }, events), '17.4')
      t.same(readState(message), { name, from, state, version: '17.4', events: ['{"type":"x:one","data":{"n":1}}', '{"type":"x:two","data":{}}'] }, name)
    }
  }
  t.end()
})

t.test('reads a change of state from a server of an earlier version, which writes the fields in a different order', (t) => {
  t.same(readState('{"state":{"name":"seats","state":{"from":"x"},"from":"17.3"}}\n17.4'), { name: 'seats', from: '17.3', state: { from: 'x' }, version: '17.4', events: [] })
  t.end()
})
