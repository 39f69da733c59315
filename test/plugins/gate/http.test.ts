import t from 'tap'
import type { Test } from 'tap'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'
import { until } from '../../support/retry.ts'

// Tests gate.http: a feature handles all HTTP requests below a path prefix.

/**
 * A feature that handles requests below /plain. The response contains `answer`, the request and the header `x-own`.
 * /plain/wait responds once the test allows it.
 */
const plain = (answer: string, prefix = '/plain') => `import { createError, defineFeature } from 'flylive-audio-server/feature'
const Gone = createError('PLAIN_GONE', 'Nothing here', 410)
export default defineFeature(async function plain (app) {
  app.gate.http('${prefix}', async (request, response) => {
    if (request.url.endsWith('/gone')) throw new Gone()
    if (request.url.endsWith('/broken')) throw new Error('a secret')
    if (request.url.endsWith('/wait')) { globalThis.flyliveInside = ${JSON.stringify(answer)}; await globalThis.flyliveWait.promise }
    let body = ''
    for await (const chunk of request) body += chunk
    response.setHeader('x-own', 'yes').end(${JSON.stringify(answer)} + ' ' + request.method + ' ' + request.url + ' ' + body)
  })
}, { name: 'plain' })
`
const other = (name: string, code: string) => `import { defineFeature } from 'flylive-audio-server/feature'
export default defineFeature(async function other (app) { ${code} }, { name: '${name}' })
`
const shared = globalThis as unknown as { flyliveWait: PromiseWithResolvers<void>, flyliveInside?: string }

async function scene (t: Test, features: Record<string, string> = {}, env: Record<string, string> = {}) {
  shared.flyliveWait = Promise.withResolvers()
  delete shared.flyliveInside
  const folder = featureFolder(t)
  folder.write('plain', { 'index.ts': plain('first') })
  for (const [name, code] of Object.entries(features)) folder.write(name, { 'index.ts': other(name, code) })
  const server = await build(t, { env: { FEATURES: ['auth', 'chat', 'plain', ...Object.keys(features)].join(','), FEATURES_PATH: folder.path, ...env } })
  const text = async (path: string, init: RequestInit = {}) => (await fetch(server.url + path, init)).text()
  const errorOf = (name: string) => server.app.features.list().find((feature) => feature.name === name)?.error
  return { server, folder, text, errorOf, admin: (path: string) => server.admin('POST', `/admin/features/${path}`) }
}

t.test('only requests below the prefix reach the handler, which sets the response headers', async (t) => {
  const { server, text } = await scene(t)
  t.equal(await text('/plain'), 'first GET /plain ')
  t.equal(await text('/plain/a/b?c=d'), 'first GET /plain/a/b?c=d ')
  t.equal(await text('/plain/x', { method: 'PUT', body: '{not json' }), 'first PUT /plain/x {not json', 'the body is not parsed')
  const response = await fetch(`${server.url}/plain`, { method: 'OPTIONS', headers: { origin: 'https://elsewhere.example', 'access-control-request-method': 'GET' } })
  t.equal(await response.text(), 'first OPTIONS /plain ', 'the handler receives preflights')
  t.equal(response.headers.get('x-own'), 'yes')
  for (const header of ['content-security-policy', 'access-control-allow-origin', 'vary']) t.equal(response.headers.get(header), null, header)
  for (const path of ['/plainer', '/xplain', '/', '/pl%61in']) t.equal((await fetch(server.url + path)).status, 404, path)
  t.equal((await fetch(`${server.url}/livez`)).status, 200)
  t.match(await server.app.inject({ url: '/plain/injected' }), { body: 'first GET /plain/injected ' }, 'inject')
})

t.test('returns errors that have a code, and INTERNAL for others', async (t) => {
  const { server } = await scene(t)
  const gone = await fetch(`${server.url}/plain/gone`)
  t.equal(gone.status, 410)
  t.same(await gone.json(), { error: { code: 'PLAIN_GONE', message: 'Nothing here' } })
  const broken = await fetch(`${server.url}/plain/broken`)
  t.equal(broken.status, 500)
  t.match(await broken.json(), { error: { code: 'INTERNAL' } })
})

t.test('a feature that claims a prefix already in use fails to load; other features load', async (t) => {
  const { errorOf, text, server } = await scene(t, {
    zsame: "app.gate.http('/plain', () => {})",
    zbelow: "app.gate.http('/plain/x', () => {})",
    zroutes: "app.get('/plain/route', async () => 'x')",
    zshop: "app.get('/shop/:id', async () => 'x')",
    zadmin: "app.gate.http('/admin/x', () => {})",
    zhealth: "app.gate.http('/health', () => {})",
    zroot: "app.gate.http('/', () => {})",
    zslash: "app.gate.http('/slash/', () => {})"
  })
  t.match(errorOf('zsame'), /The prefix \/plain overlaps a path of plain/)
  t.match(errorOf('zbelow'), /The prefix \/plain\/x overlaps a path of plain/)
  t.match(errorOf('zroutes'), /The route \/plain\/route is below the prefix \/plain of plain/)
  t.match(errorOf('zadmin'), /overlaps a path of the server itself/)
  t.match(errorOf('zhealth'), /overlaps a path of the server itself/)
  t.match(errorOf('zroot'), /The path \/ is invalid/)
  t.match(errorOf('zslash'), /must not end with a slash/)
  t.equal(errorOf('zshop'), undefined)
  t.equal(await text('/plain/x'), 'first GET /plain/x ')
  t.equal((await fetch(`${server.url}/health`)).status, 200)
})

t.test('a feature cannot claim a prefix above another feature\'s routes', async (t) => {
  const { errorOf } = await scene(t, { ashop: "app.get('/shop/:id', async () => 'x')", shopping: "app.gate.http('/shop', () => {})" })
  t.match(errorOf('shopping'), /The prefix \/shop overlaps a path of ashop/)
})

t.test('a running feature cannot claim a path of another feature', async (t) => {
  const late = (code: string) => `app.hooks.on('session:open', () => { try { ${code} } catch (error) { globalThis.flyliveErrors.push(error.message) } })`
  const errors: string[] = []
  Object.assign(globalThis, { flyliveErrors: errors })
  const { server, text } = await scene(t, {
    aclaims: late("app.gate.http('/plain/x', (_request, response) => response.end('claimed'))"),
    ashop: "app.get('/shop/:id', async () => 'x'); app.gate.upgrade('/sockets', {})",
    zopens: late("app.gate.http('/later', (_request, response) => response.end('later'))"),
    zshops: late("app.gate.http('/shop', (_request, response) => response.end('claimed'))"),
    zupgrades: late("app.gate.upgrade('/sockets', {})")
  })
  await server.connect(1)
  t.match(errors, [/prefix \/plain\/x overlaps a path of plain/, /prefix \/shop overlaps a path of ashop/, /Upgrades to \/sockets belong to ashop/])
  t.equal(await text('/plain/x'), 'first GET /plain/x ')
  t.equal(await text('/shop/1'), 'x')
  t.equal(await text('/later'), 'later', 'a free path takes effect at once')
})

t.test('withdraws the prefix when its feature is disabled', async (t) => {
  const { server, text, admin } = await scene(t)
  t.equal((await admin('plain/disable')).status, 200)
  t.equal((await fetch(`${server.url}/plain`)).status, 404)
  t.equal((await admin('plain/enable')).status, 200)
  t.equal(await text('/plain'), 'first GET /plain ')
})

t.test('a reload swaps the handler; in-flight requests finish in the old code', async (t) => {
  const { folder, text, admin } = await scene(t)
  const waiting = text('/plain/wait')
  await until(() => shared.flyliveInside === 'first')
  folder.write('plain', { 'index.ts': plain('second') })
  let reloaded = false
  const reload = admin('plain/reload').finally(() => { reloaded = true })
  await until(async () => await text('/plain') === 'second GET /plain ')
  t.equal(reloaded, false, 'the reload waits for the request')
  shared.flyliveWait.resolve()
  t.equal(await waiting, 'first GET /plain/wait ')
  t.match(await reload, { status: 200, body: { generation: 2 } })
})

t.test('no request fails during repeated reloads', async (t) => {
  const { text, admin } = await scene(t)
  const reloads = { done: false }
  const requests = (async () => {
    let count = 0
    while (!reloads.done) {
      const answer = await text('/plain')
      if (answer !== 'first GET /plain ') throw new Error(answer)
      count++
    }
    return count
  })()
  for (let i = 0; i < 10; i++) t.equal((await admin('plain/reload')).status, 200)
  reloads.done = true
  t.ok(await requests)
})

t.test('a request that exceeds the deadline of a reload gets UNAVAILABLE', async (t) => {
  const { server, admin } = await scene(t, {}, { FEATURES_DRAIN_SECONDS: '1' })
  t.teardown(() => shared.flyliveWait.resolve())
  const waiting = fetch(`${server.url}/plain/wait`)
  await until(() => shared.flyliveInside === 'first')
  t.equal((await admin('plain/disable')).status, 200)
  const response = await waiting
  t.equal(response.status, 503)
  t.match(await response.json(), { error: { code: 'UNAVAILABLE' } })
})

t.test('a failed reload keeps the prefix; a reload without the prefix releases it', async (t) => {
  const { server, folder, text, admin } = await scene(t)
  folder.write('plain', { 'index.ts': `${plain('third')}\nthrow new Error('broken')` })
  t.equal((await admin('plain/reload')).status, 422)
  t.equal(await text('/plain'), 'first GET /plain ')
  folder.write('plain', { 'index.ts': plain('moved', '/elsewhere') })
  t.equal((await admin('plain/reload')).status, 200)
  t.equal(await text('/elsewhere'), 'moved GET /elsewhere ')
  t.equal((await fetch(`${server.url}/plain`)).status, 404)
})
