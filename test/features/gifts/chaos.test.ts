import t from 'tap'
import { chaos } from './chaos.ts'

// A short version of chaos.long.ts, which sends 20,000 gifts by default and kills processes.

t.jobs = 2
t.test('loses no gift when two servers and Redis are killed', { buffered: true }, (t) => chaos(t, { gifts: 30, servers: 2, kills: 1, senders: 12, inProcess: true }))
t.test('loses no gift when a single server is killed', { buffered: true }, (t) => chaos(t, { gifts: 30, servers: 0, kills: 1, senders: 12, inProcess: true }))
