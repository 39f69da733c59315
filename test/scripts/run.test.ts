import { spawn } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { jwtSecret, tokenFor } from '../support/build.ts'
import { connect } from '../support/client.ts'
import { freePort } from '../support/redis.ts'
import { until } from '../support/retry.ts'

const script = join(import.meta.dirname, '../../scripts/run.mjs')

t.test('if npm is killed, the server waits for its clients, then stops', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}`
  // npm starts a script through a shell.
  const npm = spawn('sh', ['-c', `"${process.execPath}" "${script}" --production server.ts; true`], {
    detached: true,
    stdio: 'ignore',
    env: {
      ...process.env,
      npm_lifecycle_event: 'start',
      NODE_ENV: 'test',
      HOST: '127.0.0.1',
      PORT: new URL(url).port,
      JWT_SECRET: jwtSecret,
      FEATURES: 'auth',
      DATA_DIR: t.testdir(),
      DRAIN_SECONDS: '4',
      MEDIASOUP_RTC_MIN_PORT: String(20_000 + process.pid % 20_000)
    }
  })
  t.teardown(() => {
    try {
      process.kill(-(npm.pid ?? 0), 'SIGKILL')
    } catch { /* All processes of the group have ended. */ }
  })
  await until(() => fetch(`${url}/livez`).then(({ ok }) => ok, () => false))
  const client = await connect(t, url, { token: tokenFor(1) })
  npm.kill('SIGKILL')
  await client.event('server:draining')
  t.same(await client.closed, { code: 1001, reason: 'SHUTTING_DOWN' })
  await until(() => fetch(`${url}/livez`).then(() => false, () => true))
})
