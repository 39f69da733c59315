import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readEnvFile } from '../../config/env-file.ts'
import { ConfigError } from '../../config/error.ts'
import { loadConfig } from '../../config/load.ts'

const production = { NODE_ENV: 'production', JWT_SECRET: 'a-secret-of-at-least-32-characters', MEDIASOUP_ANNOUNCED_IP: '203.0.113.7' }
const backend = { LARAVEL_INTERNAL_KEY: 'k'.repeat(32) }

function problemsOf (env: Record<string, string | undefined>): readonly string[] {
  try {
    loadConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

/** Invalid settings and the single problem reported for each. */
const mistakes: [Record<string, string>, RegExp][] = [
  [{ MEDIASOUP_ANNOUNCED_IP: 'https://203.0.113.7' }, /^MEDIASOUP_ANNOUNCED_IP: .*; use 203\.0\.113\.7 instead of https/],
  [{ MEDIASOUP_ANNOUNCED_IP: '203.0.113.7:10000' }, /^MEDIASOUP_ANNOUNCED_IP: .*; use 203\.0\.113\.7 instead of/],
  [{ MEDIASOUP_ANNOUNCED_IP: '203.0.113. 7' }, /^MEDIASOUP_ANNOUNCED_IP: .*; use 203\.0\.113\.7 instead of/],
  [{ MEDIASOUP_ANNOUNCED_IP: '203.0.113.7 198.51.100.2' }, /^MEDIASOUP_ANNOUNCED_IP: .*; use 203\.0\.113\.7,198\.51\.100\.2 instead of/],
  [{ MEDIASOUP_ANNOUNCED_IP: '203.0.113.7 ' }, /^MEDIASOUP_ANNOUNCED_IP: must not begin or end with a space; use 203\.0\.113\.7 instead of "203\.0\.113\.7 "/],
  [{ MEDIASOUP_ANNOUNCED_IP: '203.0.113' }, /^MEDIASOUP_ANNOUNCED_IP: must be IP addresses or host names/],
  [{ MEDIASOUP_ANNOUNCED_IP: '203.0.113.700' }, /^MEDIASOUP_ANNOUNCED_IP: must be IP addresses or host names/],
  [{ MEDIASOUP_ANNOUNCED_IP: '[2001:db8::7]:10000' }, /^MEDIASOUP_ANNOUNCED_IP: .*; use 2001:db8::7 instead of/],
  [{ MEDIASOUP_ANNOUNCED_IP: 'audio_1.example.com' }, /^MEDIASOUP_ANNOUNCED_IP: must be IP addresses or host names/],
  [{ MEDIASOUP_LISTEN_IP: '0.0.0.0' }, /^MEDIASOUP_ANNOUNCED_IP: is required .*if MEDIASOUP_LISTEN_IP is 0\.0\.0\.0/],
  [{ MEDIASOUP_LISTEN_IP: '::' }, /^MEDIASOUP_ANNOUNCED_IP: is required .*if/],
  [{ MEDIASOUP_LISTEN_IP: 'eth0' }, /^MEDIASOUP_LISTEN_IP: must be an IP address/],
  [{ MEDIASOUP_LISTEN_IP: '127.0.0.1:10000' }, /^MEDIASOUP_LISTEN_IP: .*; use 127\.0\.0\.1 instead of/],
  [{ MEDIASOUP_LISTEN_IP: '10.0.0.7', MEDIASOUP_ANNOUNCED_IP: '2001:db8::7' }, /^MEDIASOUP_ANNOUNCED_IP: 2001:db8::7 is unreachable/],
  [{ RELAY_MIN_PORT: '20000', RELAY_MAX_PORT: '19999' }, /^RELAY_MAX_PORT: must not be below RELAY_MIN_PORT/],
  [{ WS_MAX_FRAME_BYTES: '1048577' }, /^WS_BYTES_BURST: must not be below WS_MAX_FRAME_BYTES/],
  [{ NODE_URLS: 'https://a.example.com' }, /^NODE_URLS: .*must be NODE_ID=URL/],
  [{ NODE_URLS: 'a=ftp://a.example.com' }, /^NODE_URLS: .*must be NODE_ID=URL/],
  [{ RELAY_IP: 'relay.example.com' }, /^RELAY_IP: must be an IP address/],
  [{ RELAY_IP: '0.0.0.0' }, /^RELAY_IP: must be an address of one server/],
  [{ MEDIASOUP_RTC_MIN_PORT: '40000', MEDIASOUP_RTC_MAX_PORT: '40002', MEDIASOUP_WORKERS: '4' }, /^MEDIASOUP_RTC_MAX_PORT: must be at least 40003/],
  [{ HOST: 'http://127.0.0.1' }, /^HOST: .*; use 127\.0\.0\.1 instead of/],
  [{ HOST: '0.0.0.0:3030' }, /^HOST: .*; use 0\.0\.0\.0 instead of/],
  [{ REDIS_HOST: 'redis://redis.example.com:6379' }, /^REDIS_HOST: .*; use redis\.example\.com instead of/],
  [{ REDIS_URL: 'redis://127.0.0.1:6379/rooms' }, /^REDIS_URL: must end with the number of a database/],
  [{ REDIS_URL: 'redis://127.0.0.1:6379/3/4' }, /^REDIS_URL: must end with the number of a database/],
  [{ REDIS_URL: 'redis://:100%sure@127.0.0.1:6379/3' }, /^REDIS_URL: must have a URL-encoded user name and password/],
  [{ REDIS_PASSWORD: 'secret' }, /^REDIS_HOST: is required with REDIS_PORT, REDIS_PASSWORD/],
  [{ TURN_URLS: 'turn.example.com:3478', TURN_SECRET: 's'.repeat(8) }, /^TURN_URLS: must be URLs like turn:/],
  [{ TURN_URLS: 'turn://turn.example.com', TURN_SECRET: 's'.repeat(8) }, /^TURN_URLS: must be URLs like turn:/],
  [{ TURN_URLS: 'stun:stun.example.com', TURN_SECRET: 's'.repeat(8) }, /^TURN_URLS: must be URLs like turn:/],
  [{ TURN_URLS: 'turn:turn.example.com' }, /^TURN_SECRET: is required with TURN_URLS/],
  [{ ICE_SERVERS: '[{"urls":"stun.example.com"}]' }, /^ICE_SERVERS: must have URLs like stun:/],
  [{ ICE_SERVERS: '[{"urls":["stun:stun.example.com","https://stun.example.com"]}]' }, /^ICE_SERVERS: must have URLs like stun:/],
  [{ ICE_SERVERS: '[{"urls":"turn:turn.example.com"}]' }, /^ICE_SERVERS: must have username and credential for TURN/],
  [{ CORS_ORIGINS: 'https://app.example.com/' }, /^CORS_ORIGINS: .*; use https:\/\/app\.example\.com instead of https:\/\/app\.example\.com\/$/],
  [{ CORS_ORIGINS: 'app.example.com' }, /^CORS_ORIGINS: .*; use https:\/\/app\.example\.com instead of app/],
  [{ CORS_ORIGINS: 'https://App.example.com' }, /^CORS_ORIGINS: .*; use https:\/\/app\.example\.com instead of/],
  [{ CORS_ORIGINS: 'https://app.example.com:443' }, /^CORS_ORIGINS: .*; use https:\/\/app\.example\.com instead of/],
  [{ CORS_ORIGINS: 'https://*.example.com' }, /^CORS_ORIGINS: must be \* or origins/],
  [{ FEATURES_PATH: '/nowhere/features' }, /^FEATURES_PATH: must be a folder; \/nowhere\/features is not/],
  [{ FEATURES: 'auth,meida' }, /^FEATURES: feature meida does not exist; the features are auth, auto-close, broadcast, chat/],
  [{ FEATURES: '-gift' }, /^FEATURES: feature gift does not exist;/],
  [{ FEATURES_CONFIG: '{"cat":{"history":10}}' }, /^FEATURES_CONFIG: feature cat does not exist;/],
  [{ FEATURES_CONFIG: '{"chat":{"histroy":10}}' }, /^FEATURES_CONFIG: chat: .*histroy/],
  [{ FEATURES_CONFIG: '{"chat":{"history":-1}}' }, /^FEATURES_CONFIG: chat\.history: /],
  [{ LARAVEL_API_URL: 'ftp://backend.example.com', ...backend }, /^LARAVEL_API_URL: must be like https:/],
  [{ LARAVEL_API_URL: 'backend.example.com', ...backend }, /^LARAVEL_API_URL: must be like https:/],
  [{ BLOBS_S3_URL: 's3://bucket', BLOBS_S3_ACCESS_KEY_ID: 'a', BLOBS_S3_SECRET_ACCESS_KEY: 'b' }, /^BLOBS_S3_URL: must be like https:/],
  [{ SSL_KEY_PATH: 'nowhere.pem', SSL_CERT_PATH: 'package.json' }, /^SSL_KEY_PATH: must be a file; .*nowhere\.pem is not/],
  [{ SSL_KEY_PATH: 'k'.repeat(300), SSL_CERT_PATH: 'package.json' }, /^SSL_KEY_PATH: must be a file that the server may read: ENAMETOOLONG/]
]

t.test('a wrong value is reported once, with its variable', async (t) => {
  for (const [env, problem] of mistakes) t.match(problemsOf(env), [problem], JSON.stringify(env))
})

t.test('all wrong values are reported at once', async (t) => {
  const env = { MEDIASOUP_ANNOUNCED_IP: 'https://203.0.113.7', CORS_ORIGINS: 'app.example.com', FEATURES_PATH: '/nowhere', FEATURES_CONFIG: '{"cat":{}}', LARAVEL_API_URL: 'ftp://b', ...backend }
  t.match(problemsOf(env).map((problem) => problem.split(':')[0]).sort(), ['CORS_ORIGINS', 'FEATURES_PATH', 'LARAVEL_API_URL', 'MEDIASOUP_ANNOUNCED_IP'])
})

t.test('accepts valid values', async (t) => {
  t.same(loadConfig({ MEDIASOUP_LISTEN_IP: '::', MEDIASOUP_ANNOUNCED_IP: '203.0.113.7, 2001:db8::7,audio-1.example.com' }).MEDIASOUP_ANNOUNCED_IP, ['203.0.113.7', '2001:db8::7', 'audio-1.example.com'])
  t.same(loadConfig({ CORS_ORIGINS: 'https://app.example.com,http://localhost:5173' }).CORS_ORIGINS, ['https://app.example.com', 'http://localhost:5173'])
  for (const HOST of ['::', '::1', 'localhost', 'audio.internal', '10.0.0.7']) t.equal(loadConfig({ HOST }).HOST, HOST)
  const turn = { TURN_URLS: 'turn:turn.example.com,turns:[2001:db8::7]:5349?transport=tcp', TURN_SECRET: 's'.repeat(8) }
  const ice = { ICE_SERVERS: '[{"urls":["stun:stun.example.com:3478"]},{"urls":"turn:192.0.2.1","username":"u","credential":"c"}]' }
  t.same(problemsOf({ ...turn, ...ice, FEATURES_CONFIG: '{"chat":{"history":10}}', FEATURES: 'auth,media' }), [])
})

t.test('accepts the names and settings of features in other folders', async (t) => {
  const folder = t.testdir()
  mkdirSync(join(folder, 'polls'))
  t.same(problemsOf({ FEATURES_PATH: folder, FEATURES: 'auth,polls', FEATURES_CONFIG: '{"polls":{"anything":1}}' }), [])
  t.same(problemsOf({ FEATURES_PACKAGES: '@acme/polls', FEATURES: '-polls' }), [])
})

t.test('production warns once about each unencrypted external connection', async (t) => {
  const backendUrl = { LARAVEL_API_URL: 'http://backend.example.com', ...backend }
  t.match(loadConfig({ ...production, REDIS_URL: 'redis://:secret@redis.example.com:6379', ...backendUrl }).warnings, [
    /^the connection to Redis at redis\.example\.com is not encrypted/, /^LARAVEL_API_URL is not encrypted/, /^clients connect without TLS \(ws:\/\/\)/
  ])
  t.notMatch(loadConfig({ ...production, REDIS_URL: 'redis://:secret@redis.example.com:6379' }).warnings.join(), 'secret')
  t.match(loadConfig({ ...production, REDIS_HOST: '10.0.0.5', TRUST_PROXY: 'true' }).warnings, [/^the connection to Redis at 10\.0\.0\.5/])
  t.same(loadConfig({ ...production, REDIS_URL: 'redis://127.0.0.1', LARAVEL_API_URL: 'http://localhost:8000', ...backend, HOST: '127.0.0.1' }).warnings, [])
  t.same(loadConfig({ ...production, REDIS_URL: 'rediss://redis.example.com', LARAVEL_API_URL: 'https://backend.example.com', ...backend, TRUST_PROXY: 'true' }).warnings, [])
  t.same(loadConfig({ REDIS_URL: 'redis://redis.example.com' }).warnings, [], 'development prints no such warnings')
})

t.test('warns about each address of Redis that has no effect', async (t) => {
  const [url, sentinels, nodes] = [{ REDIS_URL: 'redis://127.0.0.1' }, { REDIS_SENTINELS: '127.0.0.1:26379', REDIS_SENTINEL_NAME: 'primary' }, { REDIS_CLUSTER_NODES: '127.0.0.1:6379' }]
  for (const one of [url, sentinels, nodes]) t.same(loadConfig(one).warnings, [])
  t.same(loadConfig({ ...url, ...sentinels }).warnings, ['REDIS_SENTINELS is ignored, because REDIS_URL is set'])
  t.same(loadConfig({ ...sentinels, ...nodes }).warnings, ['REDIS_CLUSTER_NODES is ignored, because REDIS_SENTINELS is set'])
  t.same(loadConfig({ ...url, ...sentinels, ...nodes }).warnings, [
    'REDIS_SENTINELS is ignored, because REDIS_URL is set', 'REDIS_CLUSTER_NODES is ignored, because REDIS_URL is set'
  ])
})

t.test('.env may be in UTF-8 or UTF-16, with a byte order mark', async (t) => {
  const folder = t.testdir()
  const text = 'PORT=4000\r\n# Größe\r\nNODE_ID="ü"\r\n'
  const utf16 = Buffer.from(`\uFEFF${text}`, 'utf16le')
  const write = (bytes: Buffer | string) => {
    writeFileSync(join(folder, '.env'), bytes)
    return readEnvFile(join(folder, '.env'))
  }
  for (const bytes of [text, `\uFEFF${text}`, utf16, Buffer.from(utf16).swap16()]) t.same(write(bytes), { PORT: '4000', NODE_ID: 'ü' })
  t.same(readEnvFile(join(folder, 'none')), {})
  for (const bytes of [Buffer.from(text, 'utf16le'), Buffer.from(text, 'latin1')]) t.throws(() => write(bytes), ConfigError)
  // Docker creates a folder if the source of a bind mount does not exist.
  t.throws(() => readEnvFile(folder), { constructor: ConfigError, message: `${folder}: cannot be read: EISDIR` })
})
