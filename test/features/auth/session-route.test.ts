import { createSigner } from 'fast-jwt'
import t from 'tap'
import { build, jwtSecret, onEveryStore } from '../../support/build.ts'

const sign = createSigner({ key: jwtSecret, algorithm: 'HS256' })

onEveryStore(t, 'GET /auth/session describes the token', async (t, env) => {
  const { url, admin } = await build(t, { env })
  const ask = async (headers: Record<string, string>, query = '') => {
    const response = await fetch(`${url}/auth/session${query}`, { headers })
    return { status: response.status, cache: response.headers.get('cache-control'), body: await response.json() as Record<string, unknown> }
  }
  const exp = Math.floor(Date.now() / 1000) + 600
  const token = sign({ id: 1, name: 'User 1', exp, avatar: 'a.png', email: 'ada@example.com', roles: ['admin'] })
  const bearer = { authorization: `Bearer ${token}` }

  t.strictSame(await ask(bearer), {
    status: 200,
    cache: 'no-store',
    body: { user: { id: 1, name: 'User 1', avatar: 'a.png', userId: 1, roles: ['admin'] }, expiresAt: exp * 1000 }
  })
  const refused = { status: 401, body: { error: { code: 'UNAUTHORIZED', message: String } } }
  t.match(await ask({}), refused)
  t.match(await ask({ authorization: 'Bearer nonsense' }), refused)
  t.match(await ask({ authorization: `Bearer ${sign({ id: 1, name: 'User 1', exp: 1 })}` }), { status: 401, body: { error: { code: 'UNAUTHORIZED', message: /expired/ } } }, 'the error contains the reason')
  t.match(await ask({}, `?token=${token}`), refused)

  await admin('POST', '/admin/tokens/revoke', { token })
  t.match(await ask(bearer), { status: 401, body: { error: { code: 'UNAUTHORIZED', message: /revoked/ } } })
})

t.test('pages from configured origins may read /auth/session', async (t) => {
  const { url } = await build(t, { env: { CORS_ORIGINS: 'https://app.example.com' } })
  const allowed = async (origin: string) => (await fetch(`${url}/auth/session`, { headers: { origin } })).headers.get('access-control-allow-origin')
  t.equal(await allowed('https://app.example.com'), 'https://app.example.com')
  t.equal(await allowed('https://evil.example.com'), null)
})
