import t from 'tap'
import { churn } from './churn.ts'

t.test('joins, leaves and voices on three servers leave nothing behind', { timeout: 600_000 }, async (t) => await churn(t, 2500))
