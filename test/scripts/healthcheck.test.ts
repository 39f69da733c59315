import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import t from 'tap'

const script = resolve(import.meta.dirname, '../../scripts/healthcheck.ts')

/**
 * Runs the health check, with only the variables of `env`.
 *
 * @param cwd the working directory
 * @returns the exit code
 */
async function statusWith (env: Record<string, string>, cwd = import.meta.dirname): Promise<number> {
  const child = spawn(process.execPath, [script], { env, cwd, stdio: 'ignore' })
  const [status] = await once(child, 'exit') as [number]
  return status
}

t.test('the image\'s health check reports whether the server responds', async (t) => {
  let answer = 200
  const server = createServer((request, response) => {
    response.statusCode = request.url === '/livez' ? answer : 404
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const PORT = String((server.address() as AddressInfo).port)

  t.equal(await statusWith({ PORT }), 0)
  t.equal(await statusWith({ PORT, HOST: '0.0.0.0' }), 0)
  t.equal(await statusWith({}, t.testdir({ '.env': `PORT=${PORT}\n` })), 0, 'the server also reads .env')
  answer = 503
  t.equal(await statusWith({ PORT }), 1, 'unhealthy')
  answer = 200
  t.equal(await statusWith({ PORT, SSL_KEY_PATH: 'key.pem' }), 1, 'the server has no TLS')
  server.close()
  await once(server, 'close')
  t.equal(await statusWith({ PORT }), 1, 'no server')
})
