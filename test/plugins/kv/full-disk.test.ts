import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { adminKey, build, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { startServer } from '../../support/process.ts'
import { until } from '../../support/retry.ts'

/**
 * Mounts a 400 KiB disk until the test ends.
 *
 * @returns the disk's folder; undefined if the process is not allowed to mount disks
 */
function smallDisk (t: Test): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-disk-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  t.teardown(() => execFileSync('umount', ['--lazy', folder]))
  return folder
}

t.test('the server survives a full disk and reports that it is not ready', async (t) => {
  const disk = smallDisk(t)
  if (disk === undefined) {
    t.comment('not tested: mounting requires root')
    return
  }
  const env = { FEATURES: 'auth,gifts,chat', DATA_DIR: join(disk, 'data') }
  const server = startServer(t, env)
  const url = await server.url
  const post = async (path: string, body: object) => {
    const response = await fetch(url + path, { method: 'POST', body: JSON.stringify(body), headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' } })
    return { status: response.status, text: await response.text() }
  }
  const token = tokenFor(3)
  const [ada, bob, carl] = [await connect(t, url, { token: tokenFor(1) }), await connect(t, url, { token: tokenFor(2) }), await connect(t, url, { token })]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  await ada.ok('gift:send', { giftId: 1, recipientId: 2 })

  const filling = join(disk, 'filling')
  t.throws(() => writeFileSync(filling, Buffer.alloc(500_000)))
  await until(async () => (await fetch(`${url}/readyz`)).status === 503)
  const accepted: string[] = []
  const codes = new Set<string>()
  for (let i = 0; i < 25; i++) {
    const { ok, data, error } = await ada.request('gift:send', { giftId: 1, recipientId: 2 })
    if (ok) accepted.push(String(data.transactionId))
    else codes.add(error.code)
  }
  t.same([...codes], ['UNAVAILABLE'])
  t.match(await post('/admin/rooms/r1/kick', { userId: 2, banSeconds: 60 }), { status: 503, text: /removed, but storing the ban failed/ })
  t.match(await bob.closed, { code: 4403 })
  t.match(await post('/admin/tokens/revoke', { token }), { status: 503, text: /closed, but storing the revocation failed/ })
  t.match(await carl.closed, { code: 4401 })
  t.match(await post('/admin/rooms/r1/close', {}), { status: 503 })
  await ada.ok('chat:message', { content: 'rooms work' })

  server.child.kill('SIGKILL')
  await server.exit
  const next = await build(t, { env })
  t.equal((await fetch(`${next.url}/readyz`)).status, 503, 'the server starts with a full disk')
  rmSync(filling)
  await until(async () => (await fetch(`${next.url}/readyz`)).status === 200)
  const ledger = JSON.stringify((await next.admin('GET', '/admin/gifts/ledger?limit=200')).body)
  t.same(accepted.filter((id) => !ledger.includes(id)), [], 'accepted gifts are kept')
})

t.test('startup fails if DATA_DIR is not writable; the error contains its path', async (t) => {
  const folder = t.testdir({ file: '' })
  await t.rejects(build(t, { env: { FEATURES: 'auth', DATA_DIR: join(folder, 'file', 'data') } }), { message: /^Cannot write to DATA_DIR \(.*file\/data\): ENOTDIR/ })
})
