import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { buildPages } from '../../features/stage/build.ts'
import { freePort } from '../support/redis.ts'
import { expectTone, openBrowser } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Follows docs/first-steps.md: runs its commands and uses every control that is named in bold.

const root = resolve(import.meta.dirname, '../..')
const text = readFileSync(join(root, 'docs/first-steps.md'), 'utf8')
const commands = (/```sh\n([^`]+)```/.exec(text)?.[1] ?? '').trim().split('\n')
const controls = [...text.matchAll(/\*\*(.+?)\*\*/g)].map(([, name]) => name as string)

t.test("the first steps connect two windows that receive each other's audio", async (t) => {
  t.match(commands, [/^git clone \S+ flylive-audio-server$/, /^cd flylive-audio-server$/, /^npm start$/])
  const folder = t.testdir({})
  execFileSync('git', ['clone', '--quiet', '--depth', '1', `file://${root}`, 'flylive-audio-server'], { cwd: folder })
  const clone = join(folder, 'flylive-audio-server')
  // Link the installed packages, because an installation would take minutes. Another test covers the installation.
  symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'))
  t.equal(existsSync(join(clone, 'features/stage/.built')), false)
  // Copy prebuilt pages, because a build takes several seconds. If first-steps.long.ts sets BUILD_PAGES, `npm start`
  // builds the pages.
  if (process.env.BUILD_PAGES === undefined) cpSync(await buildPages(() => {}).then(dirname), join(clone, 'features/stage/.built'), { recursive: true })

  const port = await freePort()
  const server = spawn('npm', ['start'], {
    cwd: clone,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, PORT: String(port), MEDIASOUP_WORKERS: '1', MEDIASOUP_RTC_MIN_PORT: String(20_000 + process.pid % 20_000) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const exit = once(server, 'exit')
  t.teardown(async () => {
    server.kill('SIGTERM')
    await exit
  })
  const url = await until(() => /FlyLive Audio Server +(http:\S+)/.exec(output)?.[1] ?? false, 60_000)
  await until(() => output.includes('Server listening'), 60_000)
  t.match(output, 'ADMIN_API_KEY')

  const used: string[] = []
  const press = async (page: Page, name: string) => {
    used.push(name)
    await page.getByRole('button', { name, exact: name !== 'Invite' }).click()
  }
  const write = async (page: Page, label: string, value: string) => {
    used.push(label)
    await page.getByLabel(label).fill(value)
  }
  const [adasBrowser, bobsBrowser] = await Promise.all([openBrowser(t, 440), openBrowser(t, 1000)])
  const open = async (browser: typeof adasBrowser, address: string) => {
    const page = await (await browser.newContext({ permissions: ['microphone', 'clipboard-read', 'clipboard-write'], reducedMotion: 'reduce' })).newPage()
    await page.goto(address)
    // Turn off noise suppression, which would remove the test's tone. The document does not contain this step.
    await page.getByLabel('Original sound').check()
    return page
  }

  const ada = await open(adasBrowser, url)
  await write(ada, 'Your name', 'Ada')
  await press(ada, 'Test microphone')
  await ada.getByText('Your microphone works.').waitFor()
  await press(ada, 'Join')
  await ada.getByRole('heading', { name: 'lobby' }).waitFor()
  await press(ada, 'Speak')
  await ada.getByRole('button', { name: 'Seat 1: you' }).waitFor()

  await press(ada, 'Share')
  const bob = await open(bobsBrowser, await ada.evaluate(() => navigator.clipboard.readText()))
  await write(bob, 'Your name', 'Bob')
  await press(bob, 'Join')
  await expectTone(bob, 'Ada', 440)
  await press(bob, 'Raise hand')
  await press(ada, 'Invite')
  await press(bob, 'Accept')
  await expectTone(ada, 'Bob', 1000)
  t.same(used, controls, 'the document names these controls in this order')
})

t.test('every file that the page links to exists', async (t) => {
  for (const [, path] of text.matchAll(/\]\(([^)#]+)\)/g)) t.equal(existsSync(join(root, 'docs', String(path))), true, String(path))
})
