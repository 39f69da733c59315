import t from 'tap'
import { build, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { outcome } from '../../support/refusal.ts'

const bearer = (token: string) => `bearer.${token}`

t.test('reads the token from the Authorization header or from a subprotocol', async (t) => {
  const { url } = await build(t)
  const token = tokenFor(7)

  const fromHeader = await connect(t, url, { token })
  t.equal(fromHeader.greeting.userId, 7)
  t.equal(fromHeader.ws.protocol, 'msab.v1', 'the server selects the offered subprotocol')

  const fromProtocol = await connect(t, url, { protocols: ['msab.v1', bearer(token)] })
  t.equal(fromProtocol.greeting.userId, 7)
  t.equal(fromProtocol.ws.protocol, 'msab.v1', 'the server never selects the token, because the response would reveal it')

  const turned = await connect(t, url, { protocols: [bearer(token), 'msab.v1'] })
  t.equal(turned.ws.protocol, 'msab.v1', 'the subprotocols may be in either order')

  const plain = await connect(t, url, { token, protocols: [] })
  t.equal(plain.ws.protocol, '', 'clients without a subprotocol can connect')
  t.equal(plain.greeting.protocol, 'msab.v1')

  t.equal(await outcome(t, url, { protocols: ['msab.v1'] }), '401 UNAUTHORIZED', 'a connection without a token is rejected')
  t.equal(await outcome(t, url, { query: `?token=${token}` }), '401 UNAUTHORIZED', 'by default, a token in the URL is not accepted')
})

t.test('reads ?token= last, and only if allowed', async (t) => {
  const { url } = await build(t, { env: { WS_QUERY_TOKEN: 'true' } })
  const [one, two, three] = [tokenFor(1), tokenFor(2), tokenFor(3)]
  const query = `?token=${three}`

  t.equal((await connect(t, url, { query })).greeting.userId, 3)
  t.equal((await connect(t, url, { protocols: ['msab.v1', bearer(two)], query })).greeting.userId, 2)
  t.equal((await connect(t, url, { token: one, protocols: ['msab.v1', bearer(two)], query })).greeting.userId, 1)

  t.equal(await outcome(t, url, { token: 'nonsense', query }), '401 UNAUTHORIZED', 'a valid second token does not replace an invalid first one')
  t.equal(await outcome(t, url, { protocols: ['msab.v1', bearer('nonsense')], query }), '401 UNAUTHORIZED')
  t.equal(await outcome(t, url, { query: '?token=' }), '401 UNAUTHORIZED')
  t.equal(await outcome(t, url, { query: `?token=${one}&token=${two}` }), '401 UNAUTHORIZED', 'two tokens are invalid')
})

t.test('ignores the case of "Bearer" and rejects other schemes', async (t) => {
  const { url } = await build(t)
  const token = tokenFor(7)
  t.equal(await outcome(t, url, { headers: { authorization: `bearer ${token}` } }), '101')
  t.equal(await outcome(t, url, { headers: { authorization: `BEARER   ${token}` } }), '101')
  t.equal(await outcome(t, url, { headers: { authorization: `Basic ${token}` } }), '401 UNAUTHORIZED')
  t.equal(await outcome(t, url, { headers: { authorization: token } }), '401 UNAUTHORIZED')
  t.equal(await outcome(t, url, { headers: { authorization: 'Bearer ' } }), '401 UNAUTHORIZED')
})
