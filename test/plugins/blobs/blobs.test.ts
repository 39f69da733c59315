import { readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import t from 'tap'
import type { Test } from 'tap'
import type { Blobs } from '../../../plugins/blobs/blobs.ts'
import { createFolderBlobs } from '../../../plugins/blobs/folder.ts'
import { createS3Blobs } from '../../../plugins/blobs/s3.ts'
import { build } from '../../support/build.ts'
import { featureFolder, saying } from '../../support/features.ts'
import { until } from '../../support/retry.ts'
import { startS3 } from '../../support/s3.ts'

const contents = async (blobs: Blobs, key: string) => {
  const stream = await blobs.get(key)
  return stream && await text(stream)
}

function folderBlobs (t: Test) {
  const root = join(t.testdir(), 'blobs')
  return { root, blobs: createFolderBlobs(root) }
}

/** Runs a test case on every blob driver. */
function onEveryDriver (name: string, run: (t: Test, blobs: Blobs) => Promise<void>): void {
  t.test(`${name} (folder)`, async (t) => await run(t, folderBlobs(t).blobs))
  t.test(`${name} (S3)`, async (t) => await run(t, createS3Blobs(await startS3(t))))
}

onEveryDriver('stores, replaces, lists and deletes blobs', async (t, blobs) => {
  t.same(await blobs.list(), [])
  t.equal(await blobs.get('recordings/r1/a.mp4'), undefined)
  t.equal(await blobs.put('recordings/r1/a.mp4', Readable.from(['one ', 'two'])), 7)
  t.equal(await contents(blobs, 'recordings/r1/a.mp4'), 'one two')
  await blobs.put('recordings/r1/a.mp4', Readable.from(['new']))
  await blobs.put('recordings/r2', Readable.from([Buffer.alloc(0)]))
  t.match(await blobs.list(), [{ key: 'recordings/r1/a.mp4', bytes: 3, modifiedAt: Number }, { key: 'recordings/r2', bytes: 0 }])
  t.match(await blobs.list('recordings/r1'), [{ key: 'recordings/r1/a.mp4' }])
  t.same(await blobs.list('recordings/r3'), [])
  t.equal(await blobs.get('recordings'), undefined, 'a prefix is not a blob')
  await blobs.delete('recordings/r1/a.mp4')
  await blobs.delete('recordings/r1/a.mp4')
  t.equal(await blobs.get('recordings/r1/a.mp4'), undefined)
})

onEveryDriver('reads a part of a blob', async (t, blobs) => {
  await blobs.put('a', Readable.from(['0123456789']))
  const part = async (first: number, last: number) => await text(await blobs.get('a', { first, last }) as Readable)
  t.equal(await part(0, 0), '0')
  t.equal(await part(3, 6), '3456')
  t.equal(await part(9, 9), '9')
  t.equal(await blobs.get('b', { first: 0, last: 1 }), undefined)
})

onEveryDriver('a failed put leaves the earlier blob in place', async (t, blobs) => {
  await blobs.put('a', Readable.from(['whole']))
  await t.rejects(blobs.put('a', Readable.from((async function * () {
    yield 'half'
    throw new Error('cut')
  })())), /cut/)
  t.equal(await contents(blobs, 'a'), 'whole')
  t.same((await blobs.list()).map(({ key }) => key), ['a'])
})

t.test('a failed put leaves no file behind', async (t) => {
  const { blobs, root } = folderBlobs(t)
  await t.rejects(blobs.put('a', Readable.from((async function * () {
    yield 'half'
    throw new Error('cut')
  })())), /cut/)
  t.same(readdirSync(join(root, '.unfinished')), [])
})

onEveryDriver('concurrent puts do not mix, and a reader of a replaced blob gets all of it', async (t, blobs) => {
  const whole = (fill: string) => Buffer.alloc(1_000_000, fill)
  await blobs.put('a', Readable.from([whole('0')]))
  const reader = await blobs.get('a') as Readable
  await Promise.all(['1', '2', '3', '4'].map((fill) => blobs.put('a', Readable.from([whole(fill).subarray(0, 400_000), whole(fill).subarray(400_000)]))))
  t.ok((await buffer(reader)).equals(whole('0')))
  const left = await buffer(await blobs.get('a') as Readable)
  t.ok(left.equals(whole(String.fromCharCode(left[0] as number))))
})

onEveryDriver('rejects keys that are not a plain path', async (t, blobs) => {
  for (const key of ['', '/', '/etc/passwd', '..', '../a', 'a/../b', 'a/', 'a//b', '.a', 'a/.b', 'a b', 'a\\b', 'a\0', 'é', 'a\n', 'x'.repeat(129), 'ab/'.repeat(200) + 'a']) {
    const calls: Promise<unknown>[] = [blobs.put(key, Readable.from(['x'])), blobs.get(key), blobs.delete(key), blobs.list(key)]
    for (const call of calls) await t.rejects(call as Promise<void>, TypeError)
  }
})

t.test('removes files left by a crash, but keeps files that are being written', async (t) => {
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

t.test('S3: uploads a large blob in parts, and aborts an upload that fails', async (t) => {
  const s3 = await startS3(t)
  const blobs = createS3Blobs(s3)
  const mebibyte = (fill: number) => Buffer.alloc(1024 * 1024, fill)
  async function * mebibytes (count: number, fails = false) {
    for (let i = 0; i < count; i++) yield mebibyte(i)
    if (fails) throw new Error('cut')
  }
  t.equal(await blobs.put('large', Readable.from(mebibytes(20))), 20 * 1024 * 1024)
  const stored = await buffer(await blobs.get('large') as Readable)
  t.ok(stored.equals(Buffer.concat(Array.from({ length: 20 }, (_, i) => mebibyte(i)))))
  t.same(s3.requests().map(({ method, query }) => `${method} ${query.replace(/=[^&]*/g, '')}`).slice(0, 5),
    ['POST uploads', 'PUT partNumber&uploadId', 'PUT partNumber&uploadId', 'PUT partNumber&uploadId', 'POST uploadId'])
  await t.rejects(blobs.put('large', Readable.from(mebibytes(10, true))), /cut/)
  t.ok((await buffer(await blobs.get('large') as Readable)).equals(stored), 'the earlier blob is kept')
  t.match(s3.requests().at(-2), { method: 'DELETE', query: /uploadId/ }, 'the upload is aborted')
})

t.test('S3: lists more blobs than fit into one response', async (t) => {
  const blobs = createS3Blobs(await startS3(t))
  const keys = Array.from({ length: 50 }, (_, i) => `many/${String(i).padStart(4, '0')}`)
  await Promise.all(keys.map((key) => blobs.put(key, Readable.from(['x']))))
  t.same((await blobs.list('many')).map(({ key }) => key), keys)
})

t.test('S3: retries server errors (5xx) and reports other errors', async (t) => {
  const s3 = await startS3(t)
  const blobs = createS3Blobs(s3)
  s3.failNext(2, 503)
  await blobs.put('a', Readable.from(['x']))
  s3.failNext(1, 500)
  t.equal(await contents(blobs, 'a'), 'x')
  await t.rejects(createS3Blobs({ ...s3, secretAccessKey: 'wrong' }).put('a', Readable.from(['y'])), /403|Signature/)
  t.equal(await contents(blobs, 'a'), 'x')
  const missing = createS3Blobs({ ...s3, url: s3.url.replace(/bucket$/, 'nothing') })
  await t.rejects(missing.put('a', Readable.from(['y'])), /404|NoSuchBucket/)
  await t.rejects(missing.list(), /bucket .* does not exist/)
})

t.test('S3: a server without its bucket starts and logs an error', async (t) => {
  const s3 = await startS3(t)
  const lines: Record<string, unknown>[] = []
  await build(t, {
    log: (line) => lines.push(line),
    env: {
      FEATURES: 'auth',
      BLOBS_S3_URL: s3.url.replace(/bucket$/, 'nothing'),
      BLOBS_S3_REGION: s3.region,
      BLOBS_S3_ACCESS_KEY_ID: s3.accessKeyId,
      BLOBS_S3_SECRET_ACCESS_KEY: s3.secretAccessKey
    }
  })
  await until(() => lines.some(({ level, msg }) => level === 50 && /S3 bucket is unavailable/.test(String(msg))))
})

t.test('features store blobs in the configured bucket', async (t) => {
  const s3 = await startS3(t)
  const folder = featureFolder(t)
  folder.write('attic', {
    'index.ts': saying('attic', 'full', { before: "const { Readable } = await import('node:stream'); await app.blobs.put('attic/box', Readable.from(['hat']))" })
  })
  await build(t, {
    env: {
      FEATURES: 'auth,attic',
      FEATURES_PATH: folder.path,
      BLOBS_S3_URL: s3.url,
      BLOBS_S3_REGION: s3.region,
      BLOBS_S3_ACCESS_KEY_ID: s3.accessKeyId,
      BLOBS_S3_SECRET_ACCESS_KEY: s3.secretAccessKey
    }
  })
  t.equal(await contents(createS3Blobs(s3), 'attic/box'), 'hat')
})
