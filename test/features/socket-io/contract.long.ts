import { globSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runOverSocketIo } from './contract.ts'

// Runs the contract suite and the tests of the features with Socket.IO clients.

const root = join(import.meta.dirname, '..', '..', '..')

/** Test files that do not use the test client, or do not test messages. */
const without = /^test\/features\/(auth\/(store-down|explanation|origins|session-route|token-forms|admission|canonical|tokens)|docs|stage|socket-io|matrix|whip\/simple-whip-client)|^test\/contract\/(bad-frames|generated|http-limits)/

const files = globSync('test/{contract,features}/**/*.test.ts', { cwd: root }).filter((file) => !without.test(file)).sort()

t.jobs = 2
for (const file of files) {
  t.test(file, { buffered: true }, async (t) => {
    const { passed, failures } = await runOverSocketIo([file])
    t.equal(failures, '', `${passed} checks passed`)
  })
}
