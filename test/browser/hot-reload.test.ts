import t from 'tap'
import { reloadDuringCall } from './hot-reload.ts'

t.test('reloads features during a call', (t) => reloadDuringCall(t, { ownProcess: false, onStage: false, rounds: 1, cycles: 1, sockets: 12, pauseMs: 100, margin: 0.1 }))
