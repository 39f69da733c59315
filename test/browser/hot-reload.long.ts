import t from 'tap'
import { reloadDuringCall } from './hot-reload.ts'

t.test('reloads features during a call', (t) => reloadDuringCall(t, { ownProcess: true, onStage: true, rounds: 200, cycles: 20, sockets: 300, pauseMs: 1000, margin: 0.02 }))
