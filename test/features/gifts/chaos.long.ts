import t from 'tap'
import { chaos } from './chaos.ts'

const gifts = Number(process.env.GIFTS ?? 20_000)

t.test('loses no gift when two servers and Redis are killed', (t) => chaos(t, { gifts, servers: 2, kills: 25, senders: 40 }))
t.test('loses no gift when a single server is killed', (t) => chaos(t, { gifts, servers: 0, kills: 25, senders: 40 }))
