import t from 'tap'
import { churn } from './churn.ts'

// A small version of churn.long.ts.

t.test('joins, leaves and voices on three servers leave nothing behind', async (t) => await churn(t, 60))
