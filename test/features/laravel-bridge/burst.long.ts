import t from 'tap'
import { assertBurst } from './burst.ts'

t.test('delivers 10,000 simultaneous events in order while the server keeps responding', (t) => assertBurst(t, 10_000))
