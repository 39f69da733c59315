import t from 'tap'
import { runOverSocketIo } from './contract.ts'

// Runs a part of the contract suite with Socket.IO clients: replies and events. contract.long.ts
// runs all of it.

const files = [
  'test/contract/replies.test.ts'
]

t.test('tests of the contract pass with Socket.IO clients', async (t) => {
  const { passed, failures } = await runOverSocketIo(files)
  t.equal(failures, '', `${passed} checks passed`)
  t.ok(passed > 150, `${passed} checks`)
})
