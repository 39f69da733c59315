import { symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'

// After a reload, a feature runs the code on disk, regardless of where the code is and how it is imported.

const reload = async (server: TestServer, name: string) => (await server.admin('POST', `/admin/features/${name}/reload`)).status

/** A feature that returns an imported string. */
const importing = (name: string, from: string, word = 'word') => saying(name, 'x').replaceAll('text: "x"', `text: ${word}`).replace('import { z }', `import ${from}\nimport { z }`)

t.test('a removed and restored feature runs its new code', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': saying('says', 'old') })
  const server = await build(t, { env: { FEATURES: 'auth,says', FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  folder.remove('says')
  t.match(await server.admin('POST', '/admin/features/rescan'), { body: { removed: ['says'] } })
  folder.write('says', { 'index.ts': saying('says', 'new') })
  const { body } = await server.admin('POST', '/admin/features/rescan')
  t.same([body?.added, body?.failed], [['says'], {}])
  t.same(await client.ok('says:say', {}), { text: 'new' })
  t.match(server.app.features.list().find(({ name }) => name === 'says'), { generation: 2 }, 'the generation number continues')
})

t.test('a reload also reloads modules that two features share', async (t) => {
  const folder = featureFolder(t)
  for (const name of ['says', 'other']) folder.write(name, { 'index.ts': importing(name, "{ word } from '../shared/word.ts'") })
  folder.write('shared', { 'word.ts': "export const word = 'one'\n" })
  const server = await build(t, { env: { FEATURES: 'auth,says,other', FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  folder.write('shared', { 'word.ts': "export const word = 'two'\n" })
  t.equal(await reload(server, 'says'), 200)
  folder.write('shared', { 'word.ts': "export const word = 'three'\n" })
  t.equal(await reload(server, 'other'), 200)
  t.same(await client.ok('says:say', {}), { text: 'two' })
  t.same(await client.ok('other:say', {}), { text: 'three' })
})

t.test('supports symbolic links', async (t) => {
  const folder = featureFolder(t)
  folder.write('real/features/says', { 'index.ts': importing('says', "{ word } from './word.ts'"), 'word.ts': "export const word = 'one'\n" })
  folder.write('real/elsewhere', { 'index.ts': importing('linked', "{ word } from './word.ts'"), 'word.ts': "export const word = 'one'\n" })
  symlinkSync(join(folder.path, 'real', 'features'), join(folder.path, 'current'))
  symlinkSync(join(folder.path, 'real', 'elsewhere'), join(folder.path, 'real', 'features', 'linked'))
  const server = await build(t, { env: { FEATURES: 'auth,says,linked', FEATURES_PATH: join(folder.path, 'current') } })
  const client = await server.connect(1)
  folder.write('real/features/says', { 'word.ts': "export const word = 'two'\n" })
  folder.write('real/elsewhere', { 'word.ts': "export const word = 'two'\n" })
  for (const name of ['says', 'linked']) {
    t.equal(await reload(server, name), 200)
    t.same(await client.ok(`${name}:say`, {}), { text: 'two' }, name)
  }
  folder.write('real/elsewhere', { 'word.ts': "export const word = 'three'\nthrow new Error('in a linked folder')\n" })
  t.match(await server.admin('POST', '/admin/features/linked/reload'), { status: 422, body: { error: { details: { file: join(folder.path, 'real', 'elsewhere', 'word.ts'), line: 2 } } } })
})

t.test('reloads CommonJS modules', async (t) => {
  const folder = featureFolder(t)
  folder.write('says', { 'index.ts': importing('says', "h from './h.cjs'", 'h.word'), 'h.cjs': "module.exports = { word: require('./deep.cjs') }\n", 'deep.cjs': "module.exports = 'one'\n" })
  const server = await build(t, { env: { FEATURES: 'auth,says', FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  t.same(await client.ok('says:say', {}), { text: 'one' })
  folder.write('says', { 'deep.cjs': "module.exports = 'two'\n" })
  t.equal(await reload(server, 'says'), 200)
  t.same(await client.ok('says:say', {}), { text: 'two' })
})

t.test('a reload follows a symbolic link that points to another release', async (t) => {
  const [releases, folder] = [featureFolder(t), featureFolder(t)]
  for (const word of ['one', 'two', 'three']) {
    releases.write(`${word}/linked`, { 'index.ts': importing('linked', "{ word } from '../shared/word.ts'") })
    releases.write(`${word}/shared`, { 'word.ts': `export const word = '${word}'\n` })
  }
  const link = join(folder.path, 'current')
  const release = (word: string) => symlinkSync(join(releases.path, word), link)
  release('one')
  const server = await build(t, { env: { FEATURES: 'auth,linked', FEATURES_PATH: link } })
  const client = await server.connect(1)
  for (const word of ['two', 'three']) {
    unlinkSync(link)
    release(word)
    t.equal(await reload(server, 'linked'), 200)
    t.same(await client.ok('linked:say', {}), { text: word })
  }
  releases.write('three/shared', { 'word.ts': "export const word = 'four'\n" })
  t.equal(await reload(server, 'linked'), 200)
  t.same(await client.ok('linked:say', {}), { text: 'four' }, 'the files that the features share are reloaded')
})

t.test('a reload does not run the CommonJS modules of other features again', async (t) => {
  const folder = featureFolder(t)
  const shared = Object.assign(globalThis as unknown as { flyliveRuns: string[] }, { flyliveRuns: [] })
  for (const name of ['says', 'other']) folder.write(name, { 'index.ts': importing(name, "h from './h.cjs'", 'h.word'), 'h.cjs': `globalThis.flyliveRuns.push('${name}')\nmodule.exports = { word: require('../shared/word.cjs') }\n` })
  folder.write('shared', { 'word.cjs': "module.exports = 'one'\n" })
  const server = await build(t, { env: { FEATURES: 'auth,says,other', FEATURES_PATH: folder.path } })
  const client = await server.connect(1)
  const before = shared.flyliveRuns.filter((name) => name === 'other').length
  folder.write('shared', { 'word.cjs': "module.exports = 'two'\n" })
  t.equal(await reload(server, 'says'), 200)
  t.same(await client.ok('says:say', {}), { text: 'two' })
  t.same(await client.ok('other:say', {}), { text: 'one' })
  t.equal(shared.flyliveRuns.filter((name) => name === 'other').length, before)
  t.equal(await reload(server, 'other'), 200)
  t.same(await client.ok('other:say', {}), { text: 'two' })
})
