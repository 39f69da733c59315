import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { build } from '../support/build.ts'
import { featureFolder } from '../support/features.ts'
import { featureNew, run } from './feature-new.ts'
import { linked } from './outside.ts'

const root = join(import.meta.dirname, '..', '..')

t.test('a new feature loads and its test passes', async (t) => {
  const folder = featureFolder(t)
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const { status, out } = await featureNew(['hand-wave', '--into', '.'], folder.path)
  t.equal(status, 0)
  t.match(out, /^hand-wave\/index\.ts\nhand-wave\/messages\.ts\nhand-wave\/errors\.ts\nhand-wave\/hand-wave\.test\.ts\n\nNext/)
  t.match(out, `FEATURES_PATH=${folder.path} npm start`)
  t.match(out, `ln -s ${root} ${folder.path}/node_modules/flylive-audio-server`)
  const files = readdirSync(join(folder.path, 'hand-wave'))
  t.strictSame(files.sort(), ['errors.ts', 'hand-wave.test.ts', 'index.ts', 'messages.ts'])
  for (const file of files) t.notMatch(readFileSync(join(folder.path, 'hand-wave', file), 'utf8'), /sample/i, file)

  const { body } = await server.admin('POST', '/admin/features/rescan')
  t.same([body?.added, body?.failed], [['hand-wave'], {}])
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  await ada.ok('hand-wave:say', { text: 'hello' })
  t.match(await ada.event('hand-wave:said'), { roomId: 'r1', userId: 1, text: 'hello' })
  t.match(await ada.request('hand-wave:say', { text: 'x'.repeat(300) }), { error: { code: 'HAND_WAVE_TOO_LONG', details: { longest: 200 } } })
  t.same(await server.admin('GET', '/admin/hand-wave/r1'), { status: 200, body: { text: 'hello' } })
  t.match(await (await fetch(`${server.url}/metrics`)).text(), 'flylive_hand_wave_total 1')

  linked(t, folder.path)
  // feature-new-types.long.ts compiles the folder.
  const compiled = await run('node_modules/typescript-7/bin/tsc', ['--showConfig', '--project', folder.path])
  t.match(JSON.parse(compiled.out), { compilerOptions: { strict: true }, files: ['./hand-wave/errors.ts', './hand-wave/hand-wave.test.ts', './hand-wave/index.ts', './hand-wave/messages.ts'] }, 'TypeScript finds the server\'s options')
  const tested = await run(join(folder.path, 'hand-wave', 'hand-wave.test.ts'), [], folder.path)
  t.match(tested, { status: 0, out: /^ok 3 - .*\n\n1\.\.3\n/m, err: '' })
})

t.test('rejects invalid names', async (t) => {
  const folder = featureFolder(t)
  for (const name of ['Wave', '1wave', 'wave_hand', '-wave', '../wave', 'wave/hand', 'wäve']) {
    const args = name.startsWith('-') ? ['--', name] : [name]
    t.match(await featureNew(['--into', folder.path, ...args]), { status: 1, out: '', err: `${name} is not a valid feature name` }, name)
  }
  t.match(await featureNew(['kv', '--into', folder.path]), { status: 1, out: '', err: 'kv is the name of a part of the server' })
  t.match(await featureNew(['chat']), { status: 1, out: '', err: `Feature chat already exists: ${join(root, 'features', 'chat')}` })
  t.match(await featureNew(['chat', '--into', folder.path]), { status: 1, err: 'Feature chat already exists' }, "the new feature would override the server's")
  t.equal((await featureNew(['wave', '--into', folder.path])).status, 0)
  t.match(await featureNew(['wave', '--into', folder.path]), { status: 1, out: '', err: `Feature wave already exists: ${join(folder.path, 'wave')}` })
  for (const args of [[], ['a', 'b'], ['a', '--nothing'], ['a', '--into']]) t.match(await featureNew(args), { status: 1, out: '', err: 'npm run feature:new NAME' })
  t.strictSame(readdirSync(folder.path), ['wave'])
})
