import t from 'tap'
import { runOverSocketIo } from './contract.ts'

// Runs a part of the contract suite with Socket.IO clients: rooms, seats and rights, chat, bad input. contract.long.ts
// runs all of it.

const files = [
  'test/contract/rooms.test.ts',
  'test/contract/replies.test.ts',
  'test/features/seats/rights.test.ts',
  'test/features/chat/messages.test.ts'
]

t.test('tests of the contract pass with Socket.IO clients', async (t) => {
  const { passed, failures } = await runOverSocketIo(files)
  t.equal(failures, '', `${passed} checks passed`)
  t.ok(passed > 250, `${passed} checks`)
})
