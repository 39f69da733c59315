import { readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import t from 'tap'
import type { Test } from 'tap'
import type { Blobs } from '../../../plugins/blobs/blobs.ts'
import { createFolderBlobs } from '../../../plugins/blobs/folder.ts'
import { build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'

const contents = async (blobs: Blobs, key: string) => {
  const stream = await blobs.get(key)
  return stream && await text(stream)
}

function folderBlobs (t: Test) {
  const root = join(t.testdir(), 'blobs')
  return { root, blobs: createFolderBlobs(root) }
}

t.test('stores, replaces, lists and deletes blobs', async (t) => {
  const { blobs } = folderBlobs(t)
  t.same(await blobs.list(), [])
  t.equal(await blobs.get('recordings/r1/a.mp4'), undefined)
  t.equal(await blobs.put('recordings/r1/a.mp4', Readable.from(['one ', 'two'])), 7)
  t.equal(await contents(blobs, 'recordings/r1/a.mp4'), 'one two')
  await blobs.put('recordings/r1/a.mp4', Readable.from(['new']))
  await blobs.put('recordings/r2', Readable.from([Buffer.alloc(0)]))
  t.match(await blobs.list(), [{ key: 'recordings/r1/a.mp4', bytes: 3, modifiedAt: Number }, { key: 'recordings/r2', bytes: 0 }])
  t.match(await blobs.list('recordings/r1'), [{ key: 'recordings/r1/a.mp4' }])
  t.same(await blobs.list('recordings/r3'), [])
  t.equal(await blobs.get('recordings'), undefined, 'a prefix is no blob')
  await blobs.delete('recordings/r1/a.mp4')
  await blobs.delete('recordings/r1/a.mp4')
  t.equal(await blobs.get('recordings/r1/a.mp4'), undefined)
})

t.test('a put that fails leaves the earlier blob and no file', async (t) => {
  const { blobs, root } = folderBlobs(t)
  await blobs.put('a', Readable.from(['whole']))
  await t.rejects(blobs.put('a', Readable.from((async function * () {
    yield 'half'
    throw new Error('cut')
  })())), /cut/)
  t.equal(await contents(blobs, 'a'), 'whole')
  t.same(readdirSync(join(root, '.unfinished')), [])
  t.same((await blobs.list()).map(({ key }) => key), ['a'])
})

t.test('concurrent puts do not mix, and a reader of a replaced blob gets all of it', async (t) => {
  const { blobs } = folderBlobs(t)
  const whole = (fill: string) => Buffer.alloc(1_000_000, fill)
  await blobs.put('a', Readable.from([whole('0')]))
  const reader = await blobs.get('a') as Readable
  await Promise.all(['1', '2', '3', '4'].map((fill) => blobs.put('a', Readable.from([whole(fill).subarray(0, 400_000), whole(fill).subarray(400_000)]))))
  t.ok((await buffer(reader)).equals(whole('0')))
  const left = await buffer(await blobs.get('a') as Readable)
  t.ok(left.equals(whole(String.fromCharCode(left[0] as number))))
})

t.test('rejects keys that are no path below the folder', async (t) => {
  const { blobs } = folderBlobs(t)
  for (const key of ['', '/', '/etc/passwd', '..', '../a', 'a/../b', 'a/', 'a//b', '.a', 'a/.b', 'a b', 'a\\b', 'a\0', 'é', 'a\n', 'x'.repeat(129), 'ab/'.repeat(200) + 'a']) {
    const calls: Promise<unknown>[] = [blobs.put(key, Readable.from(['x'])), blobs.get(key), blobs.delete(key), blobs.list(key)]
    for (const call of calls) await t.rejects(call as Promise<void>, TypeError)
  }
})

t.test('removes what a crash has left, and nothing that is being written', async (t) => {
  const { blobs, root } = folderBlobs(t)
  await blobs.put('a', Readable.from(['x']))
  for (const name of ['old', 'new']) writeFileSync(join(root, '.unfinished', name), 'half')
  utimesSync(join(root, '.unfinished', 'old'), 0, 0)
  await blobs.removeUnfinished()
  t.same(readdirSync(join(root, '.unfinished')), ['new'])
})

t.test('features store blobs below DATA_DIR', async (t) => {
  const folder = featureFolder(t)
  folder.write('attic', {
    'index.ts': saying('attic', 'full', { before: "const { Readable } = await import('node:stream'); await app.blobs.put('attic/box', Readable.from(['hat']))" })
  })
  const { app } = await build(t, { env: { FEATURES: 'auth,attic', FEATURES_PATH: folder.path } })
  t.equal(await contents(createFolderBlobs(join(app.config.DATA_DIR, 'blobs')), 'attic/box'), 'hat')
})
