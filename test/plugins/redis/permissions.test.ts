import { Redis } from 'ioredis'
import t from 'tap'
import { startServer } from '../../support/process.ts'
import { startRedis } from '../../support/redis.ts'

t.test('a Redis user without a required permission aborts the startup, with a one-line error', async (t) => {
  const redis = await startRedis(t)
  const admin = new Redis(redis.url)
  t.teardown(() => admin.disconnect())
  const users: Record<string, { rules: string[], reason: RegExp, password?: string }> = {
    channels: { rules: ['~*', '+@all', 'resetchannels'], reason: /NOPERM .*channel/i },
    otherChannels: { rules: ['~*', '+@all', '&other:*'], reason: /NOPERM .*channel/i },
    keys: { rules: ['~other:*', '&*', '+@all'], reason: /NOPERM .*key/i },
    scripts: { rules: ['~*', '&*', '+@all', '-@scripting'], reason: /NOPERM .*eval/i },
    password: { rules: ['~*', '&*', '+@all'], password: 'wrong0password', reason: /WRONGPASS/ }
  }
  await Promise.all(Object.entries(users).map(async ([name, { rules, password = 'secret-of-the-test', reason }]) => {
    await admin.call('ACL', 'SETUSER', name, 'on', '>secret-of-the-test', ...rules)
    const { exit, output } = startServer(t, { REDIS_URL: `redis://${name}:${password}@127.0.0.1:${redis.port}/3`, FEATURES: 'auth' })
    t.match(await exit, { code: 1 }, name)
    const line = output().split('\n').find((line) => line.startsWith('The server could not start'))
    t.match(line, /^The server could not start: Redis rejected the server's user: /, name)
    t.match(line, reason, name)
    t.notMatch(output(), password, 'the password is not logged')
  }))
})

t.test('a Redis user needs only keys, channels and non-admin commands', async (t) => {
  const redis = await startRedis(t)
  const admin = new Redis(redis.url)
  t.teardown(() => admin.disconnect())
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>secret-of-the-test', '~*', '&msab:*', '&flylive:*', '+@all', '-@admin')
  const server = startServer(t, { REDIS_URL: `redis://app:secret-of-the-test@127.0.0.1:${redis.port}/3`, FEATURES: 'auth' })
  t.equal((await fetch(`${await server.url}/readyz`)).status, 200)
})
