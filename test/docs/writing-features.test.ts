import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { build, tokenFor } from '../support/build.ts'
import { featureFolder } from '../support/features.ts'
import { until } from '../support/retry.ts'

// Runs the code of docs/writing-features.md.

const root = join(import.meta.dirname, '..', '..')
const text = readFileSync(join(root, 'docs', 'writing-features.md'), 'utf8')
const blocks = (language: string) => [...text.matchAll(new RegExp(`^\`\`\`${language}\n([^]+?)^\`\`\`$`, 'gm'))].map(([, code = '']) => code)
/** Returns the file name in the first line of a code block, or undefined if this line contains no file name. */
const fileOf = (code: string) => /^\/\/ (\S+)\n/.exec(code)?.[1]

t.test('the guide shows the feature that feature:new writes', async (t) => {
  const folder = join(root, 'scripts', 'feature-template')
  const written = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8').replaceAll(/sample[-_]feature/g, 'wave').replaceAll('SAMPLE_FEATURE', 'WAVE'))
  const shown = blocks('ts').filter((code) => fileOf(code) === undefined)
  t.strictSame(shown.sort(), written.sort())
})

t.test("features use each other's objects", async (t) => {
  const folder = featureFolder(t)
  for (const code of blocks('ts')) {
    const [, feature = '', file = ''] = fileOf(code)?.split('/') ?? []
    if (feature !== '') folder.write(feature, { [file]: code })
  }
  const server = await build(t, { env: { FEATURES: 'auth,shout,greeter', FEATURES_PATH: folder.path } })
  t.strictSame(server.app.features.enabled(), ['auth', 'shout', 'greeter'])
  const ada = await server.connect(1)
  t.same(await ada.ok('greeter:greet'), { text: 'HELLO USER 1!' })
  t.same(await ada.ok('greeter:whisper'), { text: 'hello' })
  const shout = blocks('ts').find((code) => fileOf(code)?.includes('shout') === true) ?? ''
  folder.write('shout', { 'index.ts': shout.replace('}!`', '}!!!`') })
  t.match(await server.admin('POST', '/admin/features/shout/reload'), { status: 200 })
  t.same(await ada.ok('greeter:greet'), { text: 'HELLO USER 1!!!' }, 'the current feature instance responds')
})

t.test('runs the example features with paths, clients and sessions', async (t) => {
  const folder = featureFolder(t)
  for (const code of blocks('ts')) {
    const [, feature = '', file = ''] = fileOf(code)?.split('/') ?? []
    if (feature !== '') folder.write(feature, { [file]: code })
  }
  const server = await build(t, { env: { FEATURES: 'auth,chat,lines,time,announcer', FEATURES_PATH: folder.path } })
  t.strictSame(server.app.features.enabled().toSorted(), ['announcer', 'auth', 'chat', 'lines', 'time'])
  t.match(await (await fetch(`${server.url}/time`)).text(), /^data: \d{4}-/)

  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const ws = new WebSocket(`${server.url.replace('http', 'ws')}/lines`, ['lines.v1'], { headers: { authorization: `Bearer ${tokenFor(2)}` } })
  t.teardown(() => ws.terminate())
  const frames: string[] = []
  ws.on('message', (data) => frames.push(String(data)))
  await once(ws, 'open')
  ws.send('1 room:join {"roomId":"r1"}')
  await until(() => frames.some((frame) => frame.startsWith('= 1 {"roomId":"r1"')))

  const announced = await server.admin('POST', '/admin/announcements', { roomId: 'r1', text: 'Closing in five minutes' })
  t.match(announced, { status: 200, body: { id: String } })
  t.match(await ada.event('chat:message'), { userId: 'announcer', content: 'Closing in five minutes' })
  t.match(await ada.event('room:userLeft'), { userId: 'announcer' })
  await until(() => frames.some((frame) => /^! chat:message .*Closing in five minutes/.test(frame)))
})

t.test('runs the example features with room state, hooks, kept resources and requests between servers', async (t) => {
  const folder = featureFolder(t)
  for (const code of blocks('ts')) {
    const [, feature = '', file = ''] = fileOf(code)?.split('/') ?? []
    if (feature !== '') folder.write(feature, { [file]: code })
  }
  const server = await build(t, { env: { FEATURES: 'auth,poll,uptime', FEATURES_PATH: folder.path } })
  t.strictSame(server.app.features.enabled().toSorted(), ['auth', 'poll', 'uptime'])
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })

  t.same(await ada.ok('poll:vote', { option: 'tea' }), { votes: 1 })
  t.match(await bob.event('poll:voted'), { roomId: 'r1', userId: 1, option: 'tea' })
  t.equal(await ada.fails('poll:vote', { option: 'coffee' }), 'POLL_ALREADY_VOTED')
  t.match(await server.admin('POST', '/admin/features/uptime/reload'), { status: 200, body: { generation: 2 } })
  t.same(await bob.ok('poll:vote', { option: 'coffee' }), { votes: 2 })

  const { status, body } = await server.admin('GET', `/admin/uptime/${server.app.nodeId}`)
  t.match({ status, body }, { status: 200, body: { since: Number, votes: 2 } }, 'the votes are kept across the reload')
  t.match(await server.admin('GET', '/admin/uptime/nowhere'), { status: 503, body: { error: { code: 'UNAVAILABLE' } } })
})

t.test('loads a feature from a package', async (t) => {
  // Simulate a deployment's own project, which does not contain the server's packages.
  const project = realpathSync(mkdtempSync(join(tmpdir(), 'flylive-project-')))
  t.teardown(() => rmSync(project, { recursive: true, force: true }))
  const code = blocks('js').find((one) => fileOf(one) !== undefined) ?? ''
  const index = join(project, fileOf(code) ?? '')
  mkdirSync(dirname(index), { recursive: true })
  writeFileSync(index, code)
  writeFileSync(join(dirname(index), 'package.json'), blocks('json')[0] ?? '')

  const before = process.cwd()
  process.chdir(project)
  t.teardown(() => process.chdir(before))
  const [, FEATURES_PACKAGES = ''] = /^FEATURES_PACKAGES=(\S+) npm start$/m.exec(text) ?? []
  const server = await build(t, { env: { FEATURES: 'auth,tally', FEATURES_PACKAGES } })
  t.match(server.app.features.list().find(({ name }) => name === 'tally'), { state: 'enabled', version: '1.2.0', messages: ['tally:up'] })
  const ada = await server.connect(1)
  t.same(await ada.ok('tally:up'), { total: 1 })
  t.match(await server.admin('POST', '/admin/features/tally/reload'), { status: 200, body: { generation: 2 } })
  t.same(await ada.ok('tally:up'), { total: 2 })
})

t.test('the guide names only existing commands', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  for (const [, name = ''] of text.matchAll(/npm run (?:--prefix \S+ )?(\S+)/g)) t.ok(name in scripts, name)
  const usage = readFileSync(join(root, 'scripts', 'features.ts'), 'utf8')
  for (const [, action = ''] of text.matchAll(/npm run features -- ([a-z]+)/g)) t.match(usage, `npm run features -- ${action}`)
})
