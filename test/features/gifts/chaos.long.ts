import t from 'tap'
import { chaos } from './chaos.ts'

const gifts = Number(process.env.GIFTS ?? 20_000)

t.test('two servers that are killed, on a Redis that is killed', (t) => chaos(t, { gifts, servers: 2, kills: 25, senders: 40 }))
t.test('a single server that is killed', (t) => chaos(t, { gifts, servers: 0, kills: 25, senders: 40 }))
