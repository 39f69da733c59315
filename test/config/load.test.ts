import { availableParallelism, hostname } from 'node:os'
import type { NetworkInterfaceInfo } from 'node:os'
import t from 'tap'
import { ConfigError } from '../../config/error.ts'
import { loadConfig } from '../../config/load.ts'
import { featureVariables } from '../../config/feature-settings.ts'
import { ownAddresses } from '../../config/own-addresses.ts'
import { secrets } from '../../config/schema.ts'

const production = {
  NODE_ENV: 'production',
  JWT_SECRET: 'a-secret-of-at-least-32-characters',
  MEDIASOUP_ANNOUNCED_IP: '203.0.113.7'
}

function problemsOf (env: Record<string, string | undefined>): readonly string[] {
  try {
    loadConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

t.test('an empty environment configures a local development server', async (t) => {
  t.match(loadConfig({}), {
    NODE_ENV: 'development',
    HOST: '127.0.0.1',
    PORT: 3030,
    LOG_LEVEL: 'info',
    DRAIN_SECONDS: 0,
    MEDIASOUP_LISTEN_IP: '0.0.0.0',
    MEDIASOUP_ANNOUNCED_IP: ownAddresses(),
    MEDIASOUP_WORKERS: availableParallelism(),
    REDIS_URL: undefined,
    REDIS_HOST: undefined,
    featureDefaults: { stage: true, 'laravel-bridge': false, webhooks: false }
  })
})

t.test("in development, the server announces this machine's addresses, loopback first, unless an audio address is set", async (t) => {
  const address = (address: string, internal = false) => ({ address, internal, family: address.includes(':') ? 'IPv6' : 'IPv4', netmask: '', mac: '', cidr: null }) as NetworkInterfaceInfo
  t.same(ownAddresses({ eth0: [address('192.0.2.2'), address('2001:db8::2'), address('fe80::1')], lo: [address('127.0.0.1', true), address('::1', true)], down: undefined }),
    ['127.0.0.1', '::1', '192.0.2.2', '2001:db8::2'])
  t.same(ownAddresses({}), ['127.0.0.1'])
  t.same(loadConfig({ MEDIASOUP_LISTEN_IP: '127.0.0.1' }).MEDIASOUP_ANNOUNCED_IP, [])
  t.same(loadConfig({ MEDIASOUP_ANNOUNCED_IP: '203.0.113.7' }).MEDIASOUP_ANNOUNCED_IP, ['203.0.113.7'])
  t.same(loadConfig({ NODE_ENV: 'test' }).MEDIASOUP_ANNOUNCED_IP, [])
  t.equal(loadConfig({}).HOST, '127.0.0.1', 'HTTP stays on loopback')
})

t.test('test servers use a free port and one worker and do not log', async (t) => {
  t.match(loadConfig({ NODE_ENV: 'test' }), { PORT: 0, HOST: '127.0.0.1', LOG_LEVEL: 'silent', MEDIASOUP_WORKERS: 1, featureDefaults: { stage: false } })
})

t.test('in production, the server listens on all addresses, drains at shutdown and disables public pages', async (t) => {
  t.match(loadConfig(production), {
    NODE_ENV: 'production',
    HOST: '0.0.0.0',
    PORT: 3030,
    DRAIN_SECONDS: 10,
    MEDIASOUP_LISTEN_IP: '0.0.0.0',
    MEDIASOUP_RTC_MIN_PORT: 10_000,
    MEDIASOUP_RTC_MAX_PORT: 59_999,
    featureDefaults: { stage: false, lobby: false, 'laravel-bridge': false, webhooks: false }
  })
})

t.test('a backend URL enables the bridge', async (t) => {
  t.match(loadConfig({ LARAVEL_API_URL: 'http://backend.example', LARAVEL_INTERNAL_KEY: 'k'.repeat(32) }), { featureDefaults: { 'laravel-bridge': true } })
})

t.test('explicit values override environment defaults', async (t) => {
  t.match(loadConfig({ NODE_ENV: 'test', PORT: '4000', HOST: '::1' }), { PORT: 4000, HOST: '::1', LOG_LEVEL: 'silent' })
})

t.test('an empty variable counts as unset', async (t) => {
  const config = loadConfig({ PORT: '', HOST: '', NODE_ENV: '', REDIS_URL: '', JWT_SECRET: '', FEATURES: undefined })
  t.match(config, { PORT: 3030, HOST: '127.0.0.1', NODE_ENV: 'development', REDIS_URL: undefined })
  t.ok(config.generated.has('JWT_SECRET'))
  t.match(problemsOf({ ...production, JWT_SECRET: '' }), ['JWT_SECRET: is required in production'])
})

t.test('the node id defaults to the host name, with forbidden characters replaced', async (t) => {
  t.equal(loadConfig({}).NODE_ID, hostname().replace(/[^A-Za-z0-9_.-]/g, '-').slice(0, 64))
  t.match(problemsOf({ NODE_ID: 'two words' }), [/^NODE_ID: must be 1–64 characters/])
})

t.test('reports all problems at once, with variable names', async (t) => {
  const env = { ...production, JWT_SECRET: undefined, PORT: 'http', MEDIASOUP_WORKERS: '0', TRUST_PROXY: 'perhaps', SSL_KEY_PATH: 'package.json', LARAVEL_API_URL: 'not a url' }
  const problems = problemsOf(env)
  t.same(problems.map((problem) => problem.split(':')[0]).sort(), [
    'JWT_SECRET', 'LARAVEL_API_URL', 'LARAVEL_INTERNAL_KEY', 'MEDIASOUP_WORKERS', 'PORT', 'SSL_CERT_PATH', 'TRUST_PROXY'
  ])
  t.throws(() => loadConfig(env), { name: 'ConfigError', code: 'CONFIG_INVALID', message: problems.join('\n  - ') })
})

t.test('production requires a token secret and an announced address', async (t) => {
  t.same(problemsOf({ NODE_ENV: 'production' }).map((problem) => problem.split(':')[0]), ['MEDIASOUP_ANNOUNCED_IP', 'JWT_SECRET'])
  t.same(problemsOf(production), [])
})

t.test('paired variables are required together', async (t) => {
  t.match(problemsOf({ SSL_CERT_PATH: 'package.json' }), ['SSL_KEY_PATH: is required with SSL_CERT_PATH'])
  t.match(problemsOf({ TURN_URLS: 'turn:turn.example.com' }), ['TURN_SECRET: is required with TURN_URLS'])
  t.match(problemsOf({ LARAVEL_API_URL: 'https://backend.example.com' }), ['LARAVEL_INTERNAL_KEY: is required with LARAVEL_API_URL'])
})

t.test('rejects an unknown NODE_ENV', async (t) => {
  t.match(problemsOf({ NODE_ENV: 'staging' }), [/^NODE_ENV: /])
})

t.test('never prints the value of a secret', async (t) => {
  const value = 'hunter2'
  const env = Object.fromEntries([...secrets, ...featureVariables().filter(({ isSecret }) => isSecret).map(({ name }) => name)].map((name) => [name, value]))
  t.throws(() => loadConfig(env), ConfigError)
  t.notMatch(problemsOf({ ...env, PORT: 'x' }).join('\n'), value)
})

t.test('parses comma-separated lists', async (t) => {
  const config = loadConfig({
    CORS_ORIGINS: 'https://a.example.com, https://b.example.com,,',
    ADMIN_API_KEY: `${'p'.repeat(32)},${'q'.repeat(32)}`,
    FEATURES: '-gifts, -chat'
  })
  t.same(config.CORS_ORIGINS, ['https://a.example.com', 'https://b.example.com'])
  t.same(config.FEATURES, ['-gifts', '-chat'])
  t.same(config.ADMIN_API_KEY, ['p'.repeat(32), 'q'.repeat(32)])
  t.same(loadConfig({}).CORS_ORIGINS, [])
  t.match(problemsOf({ FEATURES: 'auth,Not A Feature' }), [/^FEATURES: must be feature names/])
  t.match(problemsOf({ JWT_PREVIOUS_SECRETS: `${'p'.repeat(32)},short` }), ['JWT_PREVIOUS_SECRETS: must have at least 32 characters'])
})

t.test('keys that clients send in a header are trimmed and have only ASCII characters', async (t) => {
  t.equal(loadConfig({ METRICS_TOKEN: 'a token for metrics\n' }).METRICS_TOKEN, 'a token for metrics')
  t.same(loadConfig({ ADMIN_API_KEY: ` ${'p'.repeat(32)}\n` }).ADMIN_API_KEY, ['p'.repeat(32)])
  t.same(problemsOf({ METRICS_TOKEN: 'schlüssel' }), ['METRICS_TOKEN: must have only ASCII characters'])
  t.same(problemsOf({ METRICS_TOKEN: '          ' }), ['METRICS_TOKEN: must have at least 8 characters'])
  t.same(problemsOf({ ADMIN_API_KEY: 'é'.repeat(32) }), ['ADMIN_API_KEY: must have only ASCII characters'])
})

t.test('parses booleans', async (t) => {
  for (const text of ['true', '1', 'yes', 'TRUE']) t.equal(loadConfig({ ALLOW_ANONYMOUS: text }).ALLOW_ANONYMOUS, true, text)
  for (const text of ['false', '0', 'no', 'off']) t.equal(loadConfig({ ALLOW_ANONYMOUS: text }).ALLOW_ANONYMOUS, false, text)
  t.same(problemsOf({ ALLOW_ANONYMOUS: 'perhaps' }), ['ALLOW_ANONYMOUS: must be true or false'])
})

t.test('TRUST_PROXY is a number of proxies, or their addresses', async (t) => {
  const trusted = (text: string) => loadConfig({ TRUST_PROXY: text }).TRUST_PROXY
  for (const text of ['true', '1', 'yes', 'TRUE']) t.equal(trusted(text), 1, `${text} means one proxy`)
  for (const text of ['false', '0', 'no', 'off', '']) t.equal(trusted(text), false, text)
  t.equal(trusted('2'), 2)
  t.same(trusted('10.0.0.0/8, 192.0.2.7,2001:db8::/32 ,::1,loopback'), ['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '::1', 'loopback'])
  for (const text of ['perhaps', '-1', '11', '1.5', '10.0.0.0/33', '10.0.0/8', '0.0.0.0/0', '::/0', '10.0.0.0/8,proxy', '10.0.0.0/8/8', ',']) {
    t.match(problemsOf({ TRUST_PROXY: text }), [/^TRUST_PROXY: must be true, false, the number of proxies \(at most 10\), or addresses/], text)
  }
})

t.test('accepts whole numbers within bounds', async (t) => {
  t.equal(loadConfig({ PORT: '0' }).PORT, 0)
  t.equal(loadConfig({ PORT: '65535' }).PORT, 65_535)
  t.equal(loadConfig({ PORT: ' 8080 ' }).PORT, 8080)
  for (const text of ['65536', '-1', '80.5', 'eighty', 'NaN', 'Infinity', ' ', '\t']) {
    t.match(problemsOf({ PORT: text }), [/^PORT: /], text)
  }
  t.same(problemsOf({ DRAIN_SECONDS: ' ', CHAT_HISTORY: ' ' }), ['DRAIN_SECONDS: must be a number', 'CHAT_HISTORY: must be a number'])
})

t.test('checks ICE servers', async (t) => {
  t.match(problemsOf({ ICE_SERVERS: 'stun:stun.example.com' }), [/^ICE_SERVERS: must be JSON/])
  t.match(problemsOf({ ICE_SERVERS: '[{"url":"stun:stun.example.com"}]' }), [/^ICE_SERVERS: /])
})

t.test('validates the Redis URL', async (t) => {
  t.equal(loadConfig({ REDIS_URL: 'rediss://:pass@redis.example.com:6380/3' }).REDIS_URL, 'rediss://:pass@redis.example.com:6380/3')
  t.match(problemsOf({ REDIS_URL: 'http://redis.example.com' }), [/^REDIS_URL: must be like redis:/])
})

t.test('generates new secrets at each startup, except in production', async (t) => {
  const config = loadConfig({})
  const { JWT_SECRET = '' } = config.variables
  t.same([...config.generated.keys()], ['JWT_SECRET', 'ADMIN_API_KEY'])
  t.ok(JWT_SECRET.length >= 32)
  t.ok((config.ADMIN_API_KEY[0] ?? '').length >= 32)
  t.not(JWT_SECRET, loadConfig({}).variables.JWT_SECRET)

  t.same([...loadConfig({ NODE_ENV: 'test' }).generated.keys()], ['JWT_SECRET'], 'the test environment has no admin routes by default')
  t.equal(loadConfig(production).generated.size, 0)
  t.same(loadConfig(production).ADMIN_API_KEY, [], 'without a key there are no admin routes')

  const own = { JWT_SECRET: 's'.repeat(32), ADMIN_API_KEY: 'k'.repeat(32) }
  t.match(loadConfig(own), { variables: own, ADMIN_API_KEY: [own.ADMIN_API_KEY] })
  t.equal(loadConfig(own).generated.size, 0)
})
