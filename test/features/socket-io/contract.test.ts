import t from 'tap'
import { runOverSocketIo } from './contract.ts'

// Runs test/contract/replies.test.ts with Socket.IO clients. contract.long.ts runs the whole contract suite.

const files = [
  'test/contract/replies.test.ts'
]

t.test('the contract tests pass with Socket.IO clients', async (t) => {
  const { passed, failures } = await runOverSocketIo(files)
  t.equal(failures, '', `${passed} checks passed`)
  t.ok(passed > 150, `${passed} checks`)
})
