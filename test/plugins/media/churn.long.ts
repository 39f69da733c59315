import t from 'tap'
import { churn } from './churn.ts'

t.test('after many joins, leaves and producers on three servers, no router or transport is left', { timeout: 600_000 }, async (t) => await churn(t, 2500))
