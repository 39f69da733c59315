import t from 'tap'
import { churn } from './churn.ts'

// A small version of churn.long.ts.

t.test('after many joins, leaves and producers on three servers, no router or transport is left', async (t) => await churn(t, 60))
