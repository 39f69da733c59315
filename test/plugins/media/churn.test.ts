import t from 'tap'
import { churn } from './churn.ts'

// A small version of churn.long.ts.

t.test('joins, leaves and producers on three servers leave no router or transport behind', async (t) => await churn(t, 60))
