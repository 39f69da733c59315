import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { createKeptResources } from '../../../plugins/features/generation.ts'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

// Tests app.keep, which keeps resources across reloads.

/** The actions of the features in this file, such as `box creates first`, in chronological order. */
const journal: string[] = []
Object.assign(globalThis, { keepJournal: journal })
const written = () => journal.splice(0)

/**
 * @returns the code of a feature that calls `app.keep`. The reply to a request contains the number of times that the
 *   requested resource has been used
 */
const keeping = (name: string, generation: string, { keys = ['first'], before = '', after = '' } = {}) => `import { defineFeature, z } from 'flylive-audio-server/feature'
export const requests = { '${name}:use': { request: z.object({ key: z.string().optional() }), reply: z.object({ uses: z.int() }) } }
export default defineFeature(async (app) => {
  const note = (text) => globalThis.keepJournal.push('${name} ' + text)
  const kept = (key) => app.keep(key, () => { note('creates ' + key); return { uses: 0 } }, () => { note('disposes ' + key + ' by ${generation}') })
  ${before}
  const [first] = ${JSON.stringify(keys)}.map(kept)
  app.messages.on('${name}:use', { ...requests['${name}:use'], room: false }, ({ key }) => ({ uses: ++(key === undefined ? first : kept(key)).uses }))
  app.addHook('onClose', async () => note('closes ${generation}'))
  ${after}
}, { name: '${name}' })
`

async function start (t: Test) {
  // Discard entries that were written at the end of an earlier test.
  written()
  const folder = featureFolder(t)
  folder.write('box', { 'index.ts': keeping('box', 'g1') })
  folder.write('crate', { 'index.ts': keeping('crate', 'g1') })
  const server = await build(t, { env: { FEATURES: 'auth,box,crate', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  t.strictSame(written(), ['box creates first', 'crate creates first'])
  const change = async (action: string) => (await server.admin('POST', `/admin/features/box/${action}`)).status
  return { folder, server, ada, change }
}

t.test('the next feature instance receives a kept resource and disposes of it with its own function', async (t) => {
  const { folder, ada, change } = await start(t)
  t.same(await ada.ok('box:use'), { uses: 1 })
  t.same(await ada.ok('crate:use'), { uses: 1 }, 'keys are separate per feature')
  folder.write('box', { 'index.ts': keeping('box', 'g2') })
  t.equal(await change('reload'), 200)
  t.strictSame(written(), ['box closes g1'])
  t.same(await ada.ok('box:use'), { uses: 2 })
  t.equal(await change('disable'), 200)
  t.strictSame(written(), ['box closes g2', 'box disposes first by g2'])
  t.equal(await change('enable'), 200)
  t.strictSame(written(), ['box creates first'])
  t.same(await ada.ok('box:use'), { uses: 1 })
  t.same(await ada.ok('crate:use'), { uses: 2 })
})

t.test('closes the old instance, then disposes of resources that the new instance does not keep', async (t) => {
  const { folder, ada, change } = await start(t)
  t.same(await ada.ok('box:use', { key: 'later' }), { uses: 1 }, 'a running feature can keep further resources')
  t.same(await ada.ok('box:use', { key: 'later' }), { uses: 2 })
  t.strictSame(written(), ['box creates later'])
  folder.write('box', { 'index.ts': keeping('box', 'g2', { keys: ['second', 'later'] }) })
  t.equal(await change('reload'), 200)
  t.strictSame(written(), ['box creates second', 'box closes g1', 'box disposes first by g1'])
  t.same(await ada.ok('box:use', { key: 'later' }), { uses: 3 })
  t.equal(await change('disable'), 200)
  t.strictSame(written(), ['box closes g2', 'box disposes later by g2', 'box disposes second by g2'])
})

t.test('disposes of resources that a failed instance created, and keeps existing ones', async (t) => {
  const { folder, ada, change } = await start(t)
  folder.write('box', { 'index.ts': keeping('box', 'g2', { keys: ['first', 'second'], after: "throw new Error('it fails')" }) })
  t.equal(await change('reload'), 422)
  t.strictSame(written(), ['box creates second', 'box closes g2', 'box disposes second by g2'])
  t.same(await ada.ok('box:use'), { uses: 1 })
  folder.write('box', { 'index.ts': keeping('box', 'g3', { before: "throw new Error('it fails')" }) })
  t.equal(await change('reload'), 422)
  t.strictSame(written(), [])
  t.same(await ada.ok('box:use'), { uses: 2 })
  t.equal(await change('disable'), 200)
  t.strictSame(written(), ['box closes g1', 'box disposes first by g1'])
})

t.test('disposes of all resources when the server closes', async (t) => {
  const { server } = await start(t)
  await server.close()
  t.strictSame(written().sort(), ['box closes g1', 'box disposes first by g1', 'crate closes g1', 'crate disposes first by g1'])
})

t.test('a feature registered as a plain plugin keeps resources until the server closes', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  let disposed = 0
  const kept = server.app.keep('plain', () => ({}), () => { disposed++ })
  t.equal(server.app.keep('plain', () => ({})), kept)
  await server.close()
  t.equal(disposed, 1)
})

t.test('a failed disposal does not prevent the disposal of other resources', async (t) => {
  const lines: string[] = []
  const { log } = Fastify({ logger: { level: 'error', stream: { write: (line: string) => { lines.push(line) } } } })
  const kept = createKeptResources(log)
  let disposed = 0
  kept.keep('first', () => 1, () => { disposed++ })
  kept.keep('second', () => 2, () => { throw new Error('it fails') })
  await kept.dispose()
  t.equal(disposed, 1)
  t.match(JSON.parse(lines.join()), { key: 'second', err: { message: 'it fails' }, msg: 'failed to dispose of a kept resource' })
  t.throws(() => kept.keep('third', () => 3), /is not possible/, 'no resource is created after the close')
})
