import t from 'tap'
import { delivers } from './burst.ts'

t.test('delivers 10,000 events at once in order while the server keeps responding', (t) => delivers(t, 10_000))
