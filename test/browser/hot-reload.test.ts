import t from 'tap'
import { reloadDuringCall } from './hot-reload.ts'

t.test('reloads features during a call', (t) => reloadDuringCall(t, { rounds: 2, cycles: 1, sockets: 12, margin: 0.1 }))
