import t from 'tap'
import { seatModel } from './model.ts'

// A short version of model.long.ts, which sends about a hundred times as many requests
// to servers that all run in separate processes.

t.jobs = 2
t.test('keeps the invariants on two servers that are killed and restarted', { buffered: true }, (t) => seatModel(t, { commands: 110, store: 'redis', backend: false, restarts: 1, processes: 1, endsLeases: true, paced: true, users: 12 }))
t.test('keeps the invariants on a single server', { buffered: true }, (t) => seatModel(t, { commands: 70, store: 'memory', backend: true, restarts: 0, processes: 0, users: 12 }))
