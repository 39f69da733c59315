import t from 'tap'
import { replacedUnderACall } from './hot-reload.ts'

t.test('features are replaced while people talk', (t) => replacedUnderACall(t, { rounds: 5, cycles: 2, sockets: 60, margin: 0.1 }))
