import t from 'tap'
import { replacedUnderACall } from './hot-reload.ts'

t.test('features are replaced while people talk', (t) => replacedUnderACall(t, { rounds: 200, cycles: 20, sockets: 300, margin: 0.02 }))
