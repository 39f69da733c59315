import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { adminKey, build, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { createScene, misbehaviours } from './faults.ts'

// The same cases run beside 100 members in faults.long.ts.

const outcomes = {
  disabled: /^2 restarts, then disabled$/,
  'late request': /^UNAVAILABLE, 1 counted$/,
  'failed hook': /^left out of the join, logged, 1 counted$/,
  'late hook': /^left out of the joins .*, 2 counted$/,
  'late job': /^failed, [12] counted$/,
  block: /^named in the log, with its call$/
}

t.test('the mistakes of a feature do not affect the members of a room', async (t) => {
  const scene = await createScene(t, { members: 4, deadlineSeconds: 1 })
  for (const one of misbehaviours) {
    const noticed = await scene.tryOut(one)
    t.match(noticed, { outcome: outcomes[one.outcome], closed: 0, lost: 0 }, `${one.name}: ${noticed.outcome}, worst reply ${noticed.worstMs} ms`)
  }
  t.equal(scene.server.child.exitCode, null)
})

t.test('a faulty feature is disabled on all servers until an admin enables it', async (t) => {
  const folder = featureFolder(t)
  const source = (before: string) => ({ 'index.ts': saying('faulty', 'x', { before }) })
  folder.write('faulty', source(''))
  folder.write('needs', { 'index.ts': saying('needs', 'x', { dependencies: ['faulty'] }) })
  const env = { FEATURES: 'auth,faulty,needs', FEATURES_PATH: folder.path, REDIS_URL: await redisDatabase() }
  const other = await build(t, { env })
  const bob = await other.connect(2)
  folder.write('faulty', source("setInterval(() => { throw new Error('a mistake') }, 10)"))
  const server = startServer(t, env)
  const ada = await connect(t, await server.url, { token: tokenFor(1) })
  t.same(await bob.event('feature:disabled', ({ name }) => name === 'faulty'), { name: 'faulty' })
  await until(async () => await bob.fails('faulty:say', {}) === 'FEATURE_DISABLED')
  t.equal(await bob.fails('needs:say', {}), 'FEATURE_DISABLED', 'dependents are disabled, too')
  t.equal(await ada.fails('faulty:say', {}), 'FEATURE_DISABLED')
  t.match(await (await fetch(`${await server.url}/metrics`)).text(), /flylive_feature_faults_total\{feature="faulty",kind="exception"\} [3-9]/)
  const response = await fetch(`${await server.url}/admin/features`, { headers: { authorization: `Bearer ${adminKey}` } })
  const { features } = await response.json() as { features: { name: string }[] }
  t.match(server.output(), 'the feature is disabled on all servers until an admin enables it')
  t.match(features.find(({ name }) => name === 'faulty'), { state: 'disabled', error: /too many faults. Last fault: a mistake/ })

  folder.write('faulty', source(''))
  t.equal((await other.admin('POST', '/admin/features/faulty/enable')).status, 200)
  await ada.event('feature:enabled', ({ name }) => name === 'faulty')
  t.same(await ada.ok('faulty:say', {}), { text: 'x' })
})

t.test('a fault that no feature caused notifies the clients and ends the process', async (t) => {
  const root = join(import.meta.dirname, '..', '..', '..')
  const folder = t.testdir({ 'server.ts': `await import('${pathToFileURL(join(root, 'server.ts')).href}')\nprocess.once('SIGWINCH', () => { throw new Error('a mistake of the kernel') })\nprocess.stdout.write('ready to fail')\n` })
  const server = startServer(t, { DRAIN_SECONDS: '60' }, folder, join(folder, 'server.ts'))
  const ada = await connect(t, await server.url, { token: tokenFor(1) })
  await until(() => server.output().includes('ready to fail'))
  server.child.kill('SIGWINCH')
  await ada.event('server:draining')
  t.same(await ada.closed, { code: 1001, reason: 'SHUTTING_DOWN' })
  t.match(await server.exit, { code: 1 })
  t.match(server.output(), 'a mistake of the kernel')
})
