import t from 'tap'
import { chaos } from './chaos.ts'

// Small, so that it is over in seconds; chaos.long.ts has 20,000 gifts.

t.jobs = 2
t.test('two servers that are killed, on a Redis that is killed', { buffered: true }, (t) => chaos(t, { gifts: 500, servers: 2, kills: 2, senders: 12 }))
t.test('a single server that is killed', { buffered: true }, (t) => chaos(t, { gifts: 500, servers: 0, kills: 2, senders: 12 }))
