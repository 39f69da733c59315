import t from 'tap'
import { reloadDuringCall } from './hot-reload.ts'

t.test('reloads features during a call', (t) => reloadDuringCall(t, { rounds: 200, cycles: 20, sockets: 300, margin: 0.02 }))
