import t from 'tap'
import { seatModel } from './model.ts'

const commands = Number(process.env.COMMANDS ?? 20_000)

t.test('keeps the invariants on two servers that are killed and restarted', (t) => seatModel(t, { commands, store: 'redis', backend: true, restarts: 8 }))
t.test('keeps the invariants on a single server', (t) => seatModel(t, { commands, store: 'memory', backend: false, restarts: 0 }))
