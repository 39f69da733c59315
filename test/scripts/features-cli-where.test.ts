import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { adminKey, build } from '../support/build.ts'
import { freePort } from '../support/redis.ts'
import { run } from './features-cli.ts'

t.test('finds the server and the key by default', async (t) => {
  const { port: PORT } = new URL((await build(t, { env: { FEATURES: 'auth' } })).url)
  t.match(await run(t.testdir({ '.env': `PORT=${PORT}\nADMIN_API_KEY=${adminKey}\n` }), ['list']), { status: 0, out: /^auth +enabled/m, err: '' })
  t.match(await run(t.testdir({}), ['list'], { PORT: ` ${PORT} `, ADMIN_API_KEY: `\n${adminKey} ` }), { status: 0, out: /^auth +enabled/m, err: '' }, 'spaces are ignored')
  t.match(await run(t.testdir({}), ['list'], { PORT, HOST: '0.0.0.0' }), { status: 1, out: '', err: /key is missing[^]*--key KEY[^]*ADMIN_API_KEY[^]*development/ })
  t.match(await run(t.testdir({}), ['list'], { PORT, ADMIN_API_KEY: 'not-the-key-of-this-server-but-long-enough' }), { status: 1, err: /^UNAUTHORIZED/ })
})

t.test('reports an invalid .env, address or key', async (t) => {
  const folder = t.testdir()
  writeFileSync(join(folder, '.env'), Buffer.from([0xff, 0x00, 0x80]))
  t.match(await run(folder, ['list']), { status: 1, out: '', err: /^The configuration is invalid:\n.*\.env: must be a text file in UTF-8\n$/ })
  const cwd = t.testdir({})
  t.match(await run(cwd, ['list', '--key', adminKey], { PORT: 'eighty' }), { status: 1, out: '', err: /^HOST or PORT is invalid.*--url\n$/ })
  t.match(await run(cwd, ['list', '--key', 'schlüssel€']), { status: 1, out: '', err: /^The admin key is invalid.*\n$/ })
})

t.test('connects to a server with TLS', async (t) => {
  const tls = join(import.meta.dirname, '..', 'fixtures', 'tls')
  const certificate = { SSL_KEY_PATH: join(tls, 'key.pem'), SSL_CERT_PATH: join(tls, 'cert.pem') }
  const { port: PORT } = new URL((await build(t, { env: { FEATURES: 'auth', ...certificate } })).url)
  const env = { PORT, ...certificate }
  const cwd = t.testdir({})
  t.match(await run(cwd, ['list', '--key', adminKey], env), { status: 0, out: /^auth +enabled/m, err: '' }, 'on this machine, the certificate may have any name')
  t.match(await run(cwd, ['list', '--key', adminKey, '--url', `https://127.0.0.1:${PORT}`], env), { status: 1, err: 'No response from' }, 'other addresses need a valid certificate')
})

t.test('reports an unreachable server and wrong usage', async (t) => {
  const cwd = t.testdir({})
  const port = await freePort()
  t.match(await run(cwd, ['list', '--key', 'x', '--url', `http://127.0.0.1:${port}`]), { status: 1, err: `No response from http://127.0.0.1:${port} (ECONNREFUSED)` })
  for (const args of [[], ['nothing'], ['enable'], ['list', 'chat'], ['reload', 'a', 'b'], ['list', '--nothing'], ['list', '--url', 'here']]) {
    t.match(await run(cwd, args), { status: 1, out: '', err: /npm run features -- list/ }, args.join(' ') || 'nothing')
  }
})
