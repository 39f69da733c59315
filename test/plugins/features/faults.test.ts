import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { adminKey, build } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { outcome } from '../../support/refusal.ts'
import { until } from '../../support/retry.ts'
import { createScene, misbehaviours } from './faults.ts'

// faults.long.ts runs the same cases with 100 members.

// The tests mostly wait, so they run in parallel.
t.jobs = 2

const outcomes = {
  disabled: /^2 restarts, then failed$/,
  'late request': /^UNAVAILABLE, 1 counted$/,
  'failed hook': /^left out of the join, logged, 1 counted$/,
  'late hook': /^left out of the joins .*, 2 counted$/,
  'late job': /^failed, [12] counted$/,
  // The server would also report the calls if they ran in the async context of an earlier fault.
  busy: /^handled without a report$/,
  block: /^named in the log, with its call$/
}

t.test("a feature's mistakes do not affect the members of a room; a fault outside features ends the process, and members are notified", { buffered: true }, async (t) => {
  const root = join(import.meta.dirname, '..', '..', '..')
  const program = join(t.testdir({ 'server.ts': `await import('${pathToFileURL(join(root, 'server.ts')).href}')\nprocess.once('SIGWINCH', () => { throw new Error('a mistake of the kernel') })\nprocess.stdout.write('ready to fail')\n` }), 'server.ts')
  const { server, members, tryOut } = await createScene(t, { members: 4, deadlineSeconds: 1, program, drainSeconds: 60 })
  for (const one of misbehaviours) {
    const noticed = await tryOut(one)
    t.match(noticed, { outcome: outcomes[one.outcome], closed: 0, lost: 0 }, `${one.name}: ${noticed.outcome}, worst reply ${noticed.worstMs} ms`)
  }
  t.equal(server.child.exitCode, null)

  await until(() => server.output().includes('ready to fail'))
  server.child.kill('SIGWINCH')
  for (const member of members) {
    await member.event('server:draining')
    t.same(await member.closed, { code: 1001, reason: 'SHUTTING_DOWN' })
  }
  t.match(await server.exit, { code: 1 })
  t.match(server.output(), 'a mistake of the kernel')
})

t.test('too many faults take a feature out of service on its server until it is reloaded', { buffered: true }, async (t) => {
  const folder = featureFolder(t)
  const source = (before: string) => ({ 'index.ts': saying('faulty', 'x', { before }) })
  folder.write('faulty', source(''))
  folder.write('needs', { 'index.ts': saying('needs', 'x', { dependencies: ['faulty'] }) })
  // Replaces the server's own feature.
  folder.write('auth', {
    'index.ts': `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(async function auth (app) {
  const identify = async (token) => {
    if (token === 'crash') Promise.reject(new Error('a mistake'))
    return { user: { id: token, name: token, roles: [], profile: { userId: token, id: token } } }
  }
  app.decorate('auth', { identify, authenticate: async ({ headers }) => await identify(headers.authorization?.slice(7)) })
}, { name: 'auth' })
`
  })
  const env = { FEATURES: 'auth,chat,faulty,needs', FEATURES_PATH: folder.path, ALLOW_ANONYMOUS: 'true', REDIS_URL: await redisDatabase() }
  const other = await build(t, { env })
  const bob = await other.connect(2, { token: 'bob' })
  folder.write('faulty', source("setInterval(() => { throw new Error('a mistake') }, 10)"))
  const server = startServer(t, env)
  const url = await server.url
  const ada = await connect(t, url, { token: 'ada' })
  const admin = async (method: string, path: string) => await (await fetch(url + path, { method, headers: { authorization: `Bearer ${adminKey}` } })).json() as { features: { name: string, state: string, generation: number, error: string | null }[] }
  const infoOf = async (name: string) => (await admin('GET', '/admin/features')).features.find((one) => one.name === name)
  await until(async () => (await infoOf('needs'))?.state === 'failed')
  for (const name of ['faulty', 'needs']) t.equal(await ada.fails(`${name}:say`, {}), 'FEATURE_DISABLED', name)
  t.match(await (await fetch(`${url}/metrics`)).text(), /flylive_feature_faults_total\{feature="faulty",kind="exception"\} [3-9]/)
  await until(() => server.output().includes('the feature is out of service on this server until it is reloaded'))
  t.match(await infoOf('faulty'), { state: 'failed', error: /too many faults; the last one: a mistake/ })
  t.match(await infoOf('needs'), { state: 'failed', error: /requires faulty/ })
  t.same(await other.app.kv.namespace('features').get('settings'), undefined, 'nothing is stored')
  for (const name of ['faulty', 'needs']) t.same(await bob.ok(`${name}:say`, {}), { text: 'x' }, `${name} runs on the other server`)
  t.notOk(bob.events.some(({ type }) => type === 'feature:disabled'))

  folder.write('faulty', source(''))
  for (const name of ['faulty', 'needs']) t.equal((await other.admin('POST', `/admin/features/${name}/reload`)).status, 200)
  await ada.event('feature:enabled', ({ name }) => name === 'needs')
  for (const name of ['faulty', 'needs']) t.same(await ada.ok(`${name}:say`, {}), { text: 'x' })

  await t.test('faults never disable auth: new connections fail until auth is reloaded', async (t) => {
    const first = (await infoOf('auth'))?.generation ?? 0
    for (let fault = 0; fault < 3; fault++) {
      await until(async () => (await infoOf('auth'))?.generation === first + fault)
      await connect(t, url, { token: 'crash' })
    }
    await until(async () => (await infoOf('auth'))?.state === 'failed')
    for (const token of ['eve', undefined]) {
      t.equal(await outcome(t, url, token === undefined ? {} : { token }), '503 UNAVAILABLE')
    }
    await until(async () => (await ada.request('room:join', { roomId: 'r1' })).ok)
    await ada.ok('chat:message', { content: 'still here' })
    t.notOk(ada.events.some(({ type, data }) => type === 'feature:disabled' && data.name === 'auth'))
    await admin('POST', '/admin/features/auth/reload')
    t.equal((await infoOf('auth'))?.state, 'enabled')
    await connect(t, url, { token: 'eve' })
  })
})

t.test('while auth is taken out of service with its dependency, anonymous access is rejected', { buffered: true }, async (t) => {
  const folder = featureFolder(t)
  folder.write('base', {
    'index.ts': saying('base', 'x', {
      before: "app.get('/base/crash', async () => { setTimeout(() => { throw new Error('a mistake') }, 1) })\n  app.get('/base/slow', (_request, reply) => { reply.hijack(); reply.raw.write('a response that does not end') })"
    })
  })
  folder.write('auth', { 'index.ts': saying('auth', 'x', { dependencies: ['base'], before: "app.decorate('auth', { authenticate: async () => { throw Object.assign(new Error('who are you?'), { code: 'UNAUTHORIZED', statusCode: 401 }) } })" }) })
  const server = startServer(t, { FEATURES: 'auth,base', FEATURES_PATH: folder.path, ALLOW_ANONYMOUS: 'true', FEATURES_DEADLINE_SECONDS: '60', FEATURES_DRAIN_SECONDS: '60' })
  const url = await server.url
  const check = async () => (await fetch(`${url}/ws`, { method: 'POST' })).status
  const base = async () => (await (await fetch(`${url}/admin/features`, { headers: { authorization: `Bearer ${adminKey}` } })).json() as { features: { name: string, state: string, generation: number }[] }).features.find(({ name }) => name === 'base')
  t.equal(await check(), 401)
  for (const generation of [1, 2]) {
    await fetch(`${url}/base/crash`)
    await until(async () => (await base())?.generation === generation + 1)
  }
  const slow = new AbortController()
  t.teardown(() => slow.abort())
  // This request keeps the old generations from closing until the test ends.
  await fetch(`${url}/base/slow`, { signal: slow.signal })
  await fetch(`${url}/base/crash`)
  await until(async () => (await base())?.state !== 'enabled')
  t.equal(await check(), 503)
})
