import t from 'tap'
import { reloadsLeaveNothing } from './leaks.ts'

t.test('1,000 reloads leak no resources', (t) => reloadsLeaveNothing(t, 1000))
