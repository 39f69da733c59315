import t from 'tap'
import { reloadsLeaveNothing } from './leaks.ts'

t.test('1,000 reloads leave nothing behind', (t) => reloadsLeaveNothing(t, 1000))
