import { join } from 'node:path'
import t from 'tap'
import { adminKey } from '../support/build.ts'
import { startServer } from '../support/process.ts'
import { freePort } from '../support/redis.ts'
import { run } from './features-cli.ts'

t.test('finds the server and the key by default', async (t) => {
  const PORT = String(await freePort())
  const server = startServer(t, { PORT, HOST: '127.0.0.1', FEATURES: 'auth', MEDIASOUP_WORKERS: '1' })
  await server.url
  t.match(await run(t.testdir({ '.env': `PORT=${PORT}\nADMIN_API_KEY=${adminKey}\n` }), ['list']), { status: 0, out: /^auth +enabled/m, err: '' })
  t.match(await run(t.testdir({}), ['list'], { PORT, HOST: '0.0.0.0' }), { status: 1, out: '', err: /key is missing[^]*--key KEY[^]*ADMIN_API_KEY[^]*development/ })
  t.match(await run(t.testdir({}), ['list'], { PORT, ADMIN_API_KEY: 'not-the-key-of-this-server-but-long-enough' }), { status: 1, err: /^UNAUTHORIZED/ })
})

t.test('connects to a server with TLS', async (t) => {
  const tls = join(import.meta.dirname, '..', 'fixtures', 'tls')
  const env = { PORT: String(await freePort()), SSL_KEY_PATH: join(tls, 'key.pem'), SSL_CERT_PATH: join(tls, 'cert.pem') }
  const server = startServer(t, { ...env, HOST: '127.0.0.1', FEATURES: 'auth', MEDIASOUP_WORKERS: '1' })
  await server.url
  const cwd = t.testdir({})
  t.match(await run(cwd, ['list', '--key', adminKey], env), { status: 0, out: /^auth +enabled/m, err: '' }, 'on this machine, the certificate may have any name')
  t.match(await run(cwd, ['list', '--key', adminKey, '--url', await server.url], env), { status: 1, err: 'No response from' }, 'other addresses need a valid certificate')
})

t.test('reports an unreachable server and wrong usage', async (t) => {
  const cwd = t.testdir({})
  const port = await freePort()
  t.match(await run(cwd, ['list', '--key', 'x', '--url', `http://127.0.0.1:${port}`]), { status: 1, err: `No response from http://127.0.0.1:${port} (ECONNREFUSED)` })
  for (const args of [[], ['nothing'], ['enable'], ['list', 'chat'], ['reload', 'a', 'b'], ['list', '--nothing'], ['list', '--url', 'here']]) {
    t.match(await run(cwd, args), { status: 1, out: '', err: /npm run features -- list/ }, args.join(' ') || 'nothing')
  }
})
