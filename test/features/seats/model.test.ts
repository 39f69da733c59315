import t from 'tap'
import { seatModel } from './model.ts'

// A short version of model.long.ts, which sends about a hundred times as many requests.

t.jobs = 2
t.test('keeps the invariants on two servers that are killed and restarted', { buffered: true }, (t) => seatModel(t, { commands: 180, store: 'redis', backend: false, restarts: 1 }))
t.test('keeps the invariants on a single server', { buffered: true }, (t) => seatModel(t, { commands: 180, store: 'memory', backend: true, restarts: 0 }))
