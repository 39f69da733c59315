import t from 'tap'
import { adminKey, build, jwtSecret } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

const infoOf = (server: TestServer, name: string) => server.app.features.list().find((one) => one.name === name)

/** A feature that searches for given strings in everything that its Fastify instance exposes. */
const curious = `import { defineFeature, z } from 'flylive-audio-server/feature'
export const requests = { 'curious:look': { request: z.object({ texts: z.array(z.string()) }), reply: z.object({ found: z.array(z.string()), visited: z.int() }) } }
const headers = []
export default defineFeature(async function curious (app) {
  app.addHook('preHandler', async (request) => { headers.push({ ...request.headers }, [...request.raw.rawHeaders]) })
  app.get('/admin/curious', async () => ({}))
  app.messages.on('curious:look', { ...requests['curious:look'], room: false }, async ({ texts }, { session }) => {
    const seen = new Set()
    const found = new Set()
    const look = (value, path, depth) => {
      if (typeof value === 'string') for (const text of texts) if (value.includes(text)) found.add(path)
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value) || depth > 12) return
      seen.add(value)
      if (value instanceof Map || value instanceof Set) for (const item of value) look(item, path + '[]', depth + 1)
      for (const key of Reflect.ownKeys(value)) {
        let member
        try { member = value[key] } catch { continue }
        look(member, path + '.' + String(key), depth + 1)
      }
      look(Object.getPrototypeOf(value), path + '.prototype', depth + 1)
    }
    for (const name of ['list', 'generations']) look(app.features[name]?.(), 'app.features.' + name, 0)
    look(app, 'app', 0)
    look(session, 'session', 0)
    look(headers, 'headers', 0)
    for (const open of [() => app.kv.namespace('features').get('settings'), () => app.kv.plainKeys('features').get('settings'), () => app.kv.plainKeys('msab:').get('kv:{features}:settings'), () => app.kv.plainKeys('').get('x')]) {
      try { look({ read: await open() }, 'app.kv', 0); found.add('app.kv is open') } catch {}
    }
    return { found: [...found], visited: seen.size }
  })
}, { name: 'curious', dependencies: ['auth'] })
`

t.test('a feature cannot reach the secrets of the server or of other features', async (t) => {
  const folder = featureFolder(t)
  folder.write('curious', { 'index.ts': curious })
  const env = { NODE_ID: 'node-to-find', FEATURES: 'auth,media,curious', FEATURES_PATH: folder.path, METRICS_TOKEN: 'a-token-for-metrics', TURN_URLS: 'turn:turn.example.com', TURN_SECRET: 'turn-secret-in-env', FEATURES_CONFIG: '{"media":{"turnSecret":"turn-secret-in-config"}}' }
  const server = await build(t, { env })
  t.equal((await server.admin('PATCH', '/admin/features/media/config', { turnSecret: 'turn-secret-of-admin' })).status, 200)
  t.equal((await server.admin('GET', '/admin/curious')).status, 200)
  const ada = await server.connect(1)
  const { found, visited } = await ada.ok('curious:look', { texts: [jwtSecret, adminKey, env.METRICS_TOKEN, 'turn-secret'] })
  t.same(found, [])
  t.ok(Number(visited) > 500, `${String(visited)} objects searched`)
  const { found: nodes } = await ada.ok('curious:look', { texts: [env.NODE_ID] })
  t.ok((nodes as string[]).includes('app.config.NODE_ID'), 'the search finds what is exposed')
})

/** A feature that has secrets in several places, and also logs and throws these secrets. */
const vault = (start = '') => `import { defineFeature, fromEnv, secret, z } from 'flylive-audio-server/feature'
export const requests = { 'vault:log': { request: z.object({}), reply: z.object({ lengths: z.array(z.int()) }) } }
export const config = z.object({
  key: fromEnv('VAULT_KEY', secret(z.string().default('the-default-secret')).refine((text) => !text.startsWith('bad'), { error: ({ input }) => 'must not be ' + input })),
  optional: secret(z.string()).optional(),
  servers: z.array(z.object({ url: z.string(), password: secret(z.string()) })).default([]),
  byName: z.record(z.string(), z.union([z.int(), secret(z.string())])).default({}),
  quoted: secret(z.string()).default(''),
  plain: z.string().default('plain')
})
export default defineFeature(async (app, settings) => {
  ${start}
  app.messages.on('vault:log', { ...requests['vault:log'], room: false }, () => {
    app.log.info({ settings }, 'settings: ' + JSON.stringify(settings))
    app.log.warn({ err: new Error('failed with ' + settings.key) }, 'failed')
    return { lengths: [settings.key.length, settings.servers.length] }
  })
}, { name: 'vault', config })
`
const values = ['secret-in-env', 'the-default-secret', 'secret-optional', 'secret-password', 'secret-by-name', 'secret-"quoted"', 'secret-of-admin', 'bad-secret-value']

t.test('secret settings are masked in the admin API, logs and errors', async (t) => {
  const folder = featureFolder(t)
  folder.write('vault', { 'index.ts': vault() })
  const lines: string[] = []
  const given = { optional: 'secret-optional', servers: [{ url: 'https://example.com', password: 'secret-password' }], byName: { a: 'secret-by-name' }, quoted: 'secret-"quoted"' }
  const server = await build(t, {
    env: { FEATURES: 'auth,vault', FEATURES_PATH: folder.path, VAULT_KEY: 'secret-in-env', FEATURES_CONFIG: JSON.stringify({ vault: given }) },
    log: (line) => lines.push(JSON.stringify(line))
  })
  const shown: string[] = []
  const admin = async (...args: Parameters<TestServer['admin']>) => {
    const answer = await server.admin(...args)
    shown.push(JSON.stringify(answer.body))
    return answer
  }
  const mask = '********'
  const masked = { key: mask, optional: mask, servers: mask, byName: mask, quoted: mask, plain: 'plain' }
  await admin('GET', '/admin/features')
  t.match(infoOf(server, 'vault'), { state: 'enabled', config: masked })
  t.match((infoOf(server, 'vault')?.configSchema as { properties: object }).properties, { key: { writeOnly: true, default: undefined }, servers: { writeOnly: true }, plain: { default: 'plain' } })
  const ada = await server.connect(1)
  t.same(await ada.ok('vault:log'), { lengths: [13, 1] })
  t.match(await admin('PATCH', '/admin/features/vault/config', { ...masked, key: 'secret-of-admin', plain: 'changed' }), { status: 200, body: { config: { ...masked, plain: 'changed' } } })
  t.same(await ada.ok('vault:log'), { lengths: [15, 1] }, 'masks that were sent back change nothing')
  t.match(await admin('PATCH', '/admin/features/vault/config', { key: 'bad-secret-value' }), { status: 400, body: { error: { code: 'VALIDATION_FAILED' } } })
  folder.write('vault', { 'index.ts': vault("throw new Error('cannot connect with ' + settings.key)") })
  t.match(await admin('POST', '/admin/features/vault/reload'), { status: 422, body: { error: { message: /cannot connect with \*{8}/ } } })
  shown.push(await (await fetch(`${server.url}/health`)).text())
  t.match(infoOf(server, 'vault'), { error: /cannot connect with \*{8}/ })
  await admin('GET', '/admin/features')

  t.ok(lines.some((line) => line.includes('settings: ')) && lines.some((line) => line.includes('cannot connect with')))
  for (const value of values) {
    for (const form of [value, JSON.stringify(value).slice(1, -1), JSON.stringify(JSON.stringify(value)).slice(3, -3)]) {
      t.same(shown.filter((text) => text.includes(form)), [], `${form} is not sent`)
      t.same(lines.filter((text) => text.includes(form)), [], `${form} is not logged`)
    }
  }
})
