import t from 'tap'
import { replacedUnderACall } from './hot-reload.ts'

t.test('reloads features during a call', (t) => replacedUnderACall(t, { rounds: 200, cycles: 20, sockets: 300, margin: 0.02 }))
