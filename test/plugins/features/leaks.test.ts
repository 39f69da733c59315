import t from 'tap'
import { reloadsLeaveNothing } from './leaks.ts'

t.test('reloads leak no resources', (t) => reloadsLeaveNothing(t, 40))
