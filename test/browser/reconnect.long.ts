import t from 'tap'
import { receptionOf } from '../support/browser.ts'
import { startCall } from '../support/call.ts'
import { until } from '../support/retry.ts'

const { server, ada, bob, hearEachOther } = await startCall(t, { env: { FEATURES: 'auth,media,seats,chat,gifts,stage' } })

t.test('restores a media connection that was lost for a few seconds', async (t) => {
  const before = await receptionOf(bob, 'Ada')
  for (const page of [ada, bob]) {
    await page.evaluate(() => {
      const connection = (window.flylive as NonNullable<typeof window.flylive>).connection
      connection.request = new Proxy(connection.request, {
        apply (request, _this, args: Parameters<typeof connection.request>) {
          if (args[0] === 'transport:restartIce') document.documentElement.dataset.restarts = 'yes'
          return Reflect.apply(request, connection, args)
        }
      })
    })
  }

  // Suspend the media worker: to a browser, this looks like a lost network connection.
  const { pid } = server.app.sfu.workers()[0] as { pid: number }
  process.kill(pid, 'SIGSTOP')
  t.teardown(() => { try { process.kill(pid, 'SIGCONT') } catch { /* The worker has exited. */ } })
  await until(async () => (await Promise.all([ada, bob].map((page) => page.evaluate(() => document.documentElement.dataset.restarts)))).includes('yes'), 40_000)
  process.kill(pid, 'SIGCONT')

  await hearEachOther()
  const after = await receptionOf(bob, 'Ada')
  t.equal(after?.producerId, before?.producerId, 'the stream is unchanged')
  t.equal(server.app.sfu.producersOf('r1').length, 2)
  for (const page of [ada, bob]) await page.getByRole('status').filter({ hasText: /^Connected$/ }).waitFor()
})
