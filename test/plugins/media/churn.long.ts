import t from 'tap'
import { churn } from './churn.ts'

t.test('joins, leaves and producers on three servers leave no router or transport behind', { timeout: 600_000 }, async (t) => await churn(t, 2500))
