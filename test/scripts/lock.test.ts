import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
// @ts-expect-error The setup is plain JavaScript because it runs before any package is installed.
import { withSetupLock } from '../../scripts/setup/lock.mjs'

t.test('serialises setups of the same checkout, but not of different checkouts', async (t) => {
  const order: string[] = []
  const gate = Promise.withResolvers<void>()
  const root = t.testdir({})
  const first = withSetupLock(root, async () => {
    order.push('first begins')
    await gate.promise
    order.push('first ends')
  })
  const second = withSetupLock(root, async () => { order.push('second') })
  await withSetupLock(`${root}-other`, async () => { order.push('other') })
  gate.resolve()
  await Promise.all([first, second])
  t.same(order, ['first begins', 'other', 'first ends', 'second'])
  await t.rejects(withSetupLock(root, async () => { throw new Error('broken') }), { message: 'broken' })
  await withSetupLock(root, async () => { order.push('free again') })
  t.equal(order.at(-1), 'free again')
})

t.test('ignores a lock whose holder is dead', async (t) => {
  const root = t.testdir({})
  const { pid, status } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { withSetupLock } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, '..', '..', 'scripts', 'setup', 'lock.mjs')).href)}
    await withSetupLock(${JSON.stringify(root)}, async () => process.kill(process.pid, 'SIGKILL'))
  `])
  t.ok(pid > 0 && status === null, 'killed while it had the lock')
  t.equal(await withSetupLock(root, async () => 'mine'), 'mine')
})
