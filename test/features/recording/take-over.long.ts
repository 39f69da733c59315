import t from 'tap'
import { detailOf } from './s3.ts'
import { isDownload, record } from './take-over.ts'

// More ways in which another server finishes a recording; see take-over.test.ts.

t.test('another server finishes a recording that has ended but is not uploaded', async (t) => {
  const uploading = Promise.withResolvers<boolean>()
  const { kill, second, owner, id, stored } = await record(t, [async (_method, path) => {
    if (!path.startsWith('/recordings/recordings/')) return true
    uploading.resolve(true)
    return await new Promise<boolean>(() => {})
  }, () => true])
  await owner.ok('recording:stop')
  await uploading.promise
  const { endedAt } = await detailOf(second.url, id)
  await kill()
  await stored()
  const detail = await detailOf(second.url, id)
  t.match(detail, { endedAt })
  t.equal(detail.reason, undefined, 'a host stopped the recording')
})

t.test('a take-over downloads the parts again if the bucket fails during the download', async (t) => {
  let downloads = 0
  const { kill, stored } = await record(t, [() => true, (method, path) => !isDownload(method, path) || ++downloads < 3 || downloads > 8])
  await kill()
  await stored()
  t.ok(downloads > 8)
})
