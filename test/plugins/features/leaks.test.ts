import t from 'tap'
import { reloadsLeaveNothing } from './leaks.ts'

t.test('reloads leave nothing behind', (t) => reloadsLeaveNothing(t, 150))
