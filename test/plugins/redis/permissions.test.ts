import { spawn } from 'node:child_process'
import { Redis } from 'ioredis'
import t from 'tap'
import { StartError } from '../../../config/error.ts'
import { build } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

const secret = 'secret-of-the-test'

t.test('a Redis user without a required permission aborts the startup, with a one-line error', async (t) => {
  const redis = await startRedis(t)
  const admin = new Redis(redis.url)
  t.teardown(() => admin.disconnect())
  const users: Record<string, { rules: string[], reason: RegExp }> = {
    channels: { rules: ['~*', '+@all', 'resetchannels'], reason: /NOPERM .*channel/i },
    otherChannels: { rules: ['~*', '+@all', '&other:*'], reason: /NOPERM .*channel/i },
    keys: { rules: ['~other:*', '&*', '+@all'], reason: /NOPERM .*key/i },
    scripts: { rules: ['~*', '&*', '+@all', '-@scripting'], reason: /NOPERM .*eval/i }
  }
  const urlOf = async (name: string, { rules, password = secret }: { rules: string[], password?: string }) => {
    await admin.call('ACL', 'SETUSER', name, 'on', `>${secret}`, ...rules)
    return `redis://${name}:${password}@127.0.0.1:${redis.port}/3`
  }
  for (const [name, { rules, reason }] of Object.entries(users)) {
    const error = await build(t, { env: { REDIS_URL: await urlOf(name, { rules }), FEATURES: 'auth' } }).catch((error: unknown) => error)
    t.match(error, { constructor: StartError, message: /^Redis rejected the server's user: / }, name)
    t.match(error, { message: reason }, name)
  }

  const { exit, output } = startServer(t, { REDIS_URL: await urlOf('password', { rules: ['~*', '&*', '+@all'], password: 'wrong0password' }), FEATURES: 'auth' })
  t.match(await exit, { code: 1 })
  t.match(output().split('\n').find((line) => line.startsWith('The server could not start')), /^The server could not start: Redis rejected the server's user: .*WRONGPASS/i)
  t.notMatch(output(), 'wrong0password', 'the password is not logged')
})

t.test('startup fails if Redis does not have the database', async (t) => {
  const redis = await startRedis(t, '127.0.0.1', ['--databases', '4'])
  const other = new Redis(redis.url.replace(/3$/, '0'))
  t.teardown(() => other.disconnect())
  const { exit, output } = startServer(t, { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port), REDIS_DB: '4', FEATURES: 'auth' })
  t.match(await exit, { code: 1 })
  t.match(output(), /^The server could not start: Redis does not have the database 4: ERR DB index is out of range\. Change .*REDIS_DB$/m)
  t.equal(await other.dbsize(), 0, 'the server did not use database 0 instead')
})

t.test('a server does not use database 0 if its own database no longer exists', async (t) => {
  const redis = await startRedis(t)
  const { app, url } = await build(t, { env: { REDIS_URL: redis.url.replace(/3$/, '20'), FEATURES: 'auth' } })
  await redis.kill()
  const smaller = spawn('redis-server', ['--port', String(redis.port), '--bind', '127.0.0.1', '--save', '', '--databases', '4'], { stdio: 'ignore' })
  t.teardown(() => smaller.kill('SIGKILL'))
  const other = new Redis(redis.port, { retryStrategy: () => 50 })
  other.on('error', () => {})
  t.teardown(() => other.disconnect())
  await until(async () => /cmdstat_select:.*failed_calls=[1-9]/.test(await other.info('commandstats').catch(() => '')))
  await t.rejects(app.redis.set('a', 1))
  t.equal((await fetch(`${url}/readyz`)).status, 503)
  t.equal(await other.dbsize(), 0)
})

t.test('a Redis user needs only keys, channels and non-admin commands', async (t) => {
  const redis = await startRedis(t)
  const admin = new Redis(redis.url)
  t.teardown(() => admin.disconnect())
  await admin.call('ACL', 'SETUSER', 'app', 'on', `>${secret}`, '~*', '&msab:*', '&flylive:*', '+@all', '-@admin')
  const { url } = await build(t, { env: { REDIS_URL: `redis://app:${secret}@127.0.0.1:${redis.port}/3`, FEATURES: 'auth' } })
  t.equal((await fetch(`${url}/readyz`)).status, 200)
})
