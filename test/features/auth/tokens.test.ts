import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import t from 'tap'
import { build, jwtSecret, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { outcome } from '../../support/refusal.ts'

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const now = () => Math.floor(Date.now() / 1000)
const good = () => ({ id: 1, name: 'Ada', exp: now() + 60 })

type Signer = (input: string) => Buffer
const hmac = (hash: string, key: string): Signer => (input) => createHmac(hash, key).update(input).digest()

/** Builds a token by hand, because libraries refuse to create invalid tokens. */
function token (payload: unknown, signature: Signer = hmac('sha256', jwtSecret), header: object = { alg: 'HS256', typ: 'JWT' }): string {
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${signature(input).toString('base64url')}`
}

/** Reads the number of authentication attempts per result from the metrics. */
async function counted (url: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Object.fromEntries([...text.matchAll(/^flylive_auth_attempts_total\{result="(\w+)"\} (\d+)/gm)].map(([, result, count]) => [result, Number(count)]))
}

t.test('validates tokens', async (t) => {
  const olderSecret = 'an-older-secret-that-still-verifies-tokens'
  const oldestSecret = 'the-oldest-secret-that-still-verifies-tokens'
  const { url } = await build(t, { env: { JWT_PREVIOUS_SECRETS: `${olderSecret},${oldestSecret}`, JWT_MAX_AGE_SECONDS: '3600' } })
  const attempts = (tokens: Record<string, string>, expected: string, result: string) => t.test(result, async (t) => {
    for (const [name, made] of Object.entries(tokens)) {
      const before = (await counted(url))[result] ?? 0
      t.equal(await outcome(t, url, { token: made }), expected, name)
      t.equal((await counted(url))[result], before + 1, `${name}: counted as ${result}`)
    }
  })

  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  const rs256: Signer = (input) => sign('sha256', Buffer.from(input), privateKey)
  const none = () => Buffer.alloc(0)
  const [head, , signature] = token(good()).split('.') as [string, string, string]

  await attempts({
    'in the format of the backend': token(good()),
    'signed with an older secret': token(good(), hmac('sha256', olderSecret)),
    'signed with the oldest secret': token(good(), hmac('sha256', oldestSecret)),
    'without exp, issued less than an hour ago': token({ id: 1, name: 'Ada', iat: now() - 3500 }),
    'with exp and an old iat': token({ ...good(), iat: now() - 100_000 }),
    'with unknown claims': token({ ...good(), coins: 5, nested: { deep: [1] } }),
    'without typ': token(good(), undefined, { alg: 'HS256' }),
    'not blocked': token({ ...good(), is_blocked: false }),
    'with claims that are null': token({ ...good(), roles: null, is_blocked: null, avatar: null }),
    'with an nbf in the past': token({ ...good(), nbf: now() - 10 }),
    'of a backend whose clock is a minute ahead': token({ ...good(), nbf: now() + 55, iat: now() + 55 }),
    'with an exp in the far future': token({ ...good(), exp: 1e300 })
  }, '101', 'success')

  await attempts({
    'no token at all': '.',
    'not a token': 'nonsense',
    'no signature part': token(good()).split('.').slice(0, 2).join('.'),
    'an empty signature': token(good(), none),
    'another secret': token(good(), hmac('sha256', 'a-secret-that-this-server-does-not-know')),
    'alg none': token(good(), none, { alg: 'none', typ: 'JWT' }),
    'alg None': token(good(), none, { alg: 'None', typ: 'JWT' }),
    'alg none with a good signature': token(good(), undefined, { alg: 'none', typ: 'JWT' }),
    'no alg': token(good(), undefined, { typ: 'JWT' }),
    HS384: token(good(), hmac('sha384', jwtSecret), { alg: 'HS384', typ: 'JWT' }),
    HS512: token(good(), hmac('sha512', jwtSecret), { alg: 'HS512', typ: 'JWT' }),
    'RS256 with a key of the attacker': token(good(), rs256, { alg: 'RS256', typ: 'JWT' }),
    'RS256 in the header, HMAC by the secret': token(good(), undefined, { alg: 'RS256', typ: 'JWT' }),
    'HS256 in the header, HMAC by a public key': token(good(), hmac('sha256', pem)),
    'HS256 in the header, RS256 as signature': token(good(), rs256),
    'a key in the header': token(good(), hmac('sha256', 'known'), { alg: 'HS256', typ: 'JWT', jwk: { kty: 'oct', k: Buffer.from('known').toString('base64url') } }),
    'an extension that must be understood': token(good(), undefined, { alg: 'HS256', typ: 'JWT', crit: ['b64'], b64: false }),
    'another payload under a good signature': `${head}.${encode({ ...good(), id: 2 })}.${signature}`,
    'another header under a good signature': `${encode({ alg: 'HS256' })}.${token(good()).split('.')[1] ?? ''}.${signature}`,
    'a payload that is not an object': token('me'),
    'a payload that is a list': token([good()]),
    'no id': token({ name: 'Ada', exp: now() + 60 }),
    'no name': token({ id: 1, exp: now() + 60 }),
    'an empty id': token({ ...good(), id: '' }),
    'an empty name': token({ ...good(), name: '' }),
    'an id that is an object': token({ ...good(), id: { toString: 'x' } }),
    'an id that is null': token({ ...good(), id: null }),
    'an id with a fraction': token({ ...good(), id: 1.5 }),
    'an id beyond exact numbers': token({ ...good(), id: 2 ** 60 }),
    'an id with an unpaired surrogate': token({ ...good(), id: 'a\ud800' }),
    'a name with an unpaired surrogate': token({ ...good(), name: 'a\ud800' }),
    'a name with NUL': token({ ...good(), name: 'a\0' }),
    'a huge id': token({ ...good(), id: 'x'.repeat(129) }),
    'roles that are not a list': token({ ...good(), roles: 'admin' }),
    'exp that is a string': token({ ...good(), exp: String(now() + 60) }),
    'exp that is null': token({ ...good(), exp: null }),
    'exp that is a list': token({ ...good(), exp: [now() + 60] }),
    'iat that is a string': token({ id: 1, name: 'Ada', iat: String(now()) }),
    'neither exp nor iat': token({ id: 1, name: 'Ada' }),
    'not valid yet': token({ ...good(), nbf: now() + 70 }),
    'issued in the future': token({ ...good(), iat: now() + 70 }),
    'is_blocked that is a string': token({ ...good(), is_blocked: 'true' })
  }, '401 UNAUTHORIZED', 'invalid')

  await attempts({
    'exp is over': token({ ...good(), exp: now() - 1 }),
    'expired, signed with an older secret': token({ ...good(), exp: now() - 1 }, hmac('sha256', olderSecret)),
    'exp is 0': token({ ...good(), exp: 0 }),
    'expired, with a recent iat': token({ ...good(), exp: now() - 1, iat: now() }),
    'without exp, issued too long ago': token({ id: 1, name: 'Ada', iat: now() - 3601 })
  }, '401 UNAUTHORIZED', 'expired')

  await attempts({ 'is_blocked is true': token({ ...good(), is_blocked: true }) }, '401 UNAUTHORIZED', 'blocked')
})

t.test('the error names the check that failed', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', JWT_CLOCK_TOLERANCE_SECONDS: '5' } })
  const reasonOf = async (text: string) => {
    const response = await fetch(`${server.url}/auth/session`, { headers: { authorization: `Bearer ${text}` } })
    return (await response.json() as { error?: { message: string } }).error?.message
  }
  t.match(await reasonOf(token({ ...good(), nbf: now() + 30 })), /not yet valid \(nbf\)/)
  t.match(await reasonOf(token({ ...good(), iat: now() + 30 })), /issued in the future \(iat\)/)
  t.match(await reasonOf(token({ ...good(), exp: now() - 1 })), /expired/)
  t.match(await reasonOf(token(good(), hmac('sha256', 'x'.repeat(32)))), /signature/)
  t.match(await reasonOf('nonsense'), /not a JWT/)
})

t.test('rejects RS256 tokens even if a public key is used as the secret', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  // Creates the token reader directly, because the configuration would reject this secret.
  const { createTokenReader } = await import('../../../features/auth/token.ts')
  const read = createTokenReader({ secrets: [jwtSecret], maxAgeSeconds: 60, publicClaims: [] })
  t.equal(read(token(good())).user.id, 1)
  t.throws(() => read(token(good(), (input) => sign('sha256', Buffer.from(input), privateKey), { alg: 'RS256', typ: 'JWT' })), { message: 'The token is not signed with HS256' })
  t.throws(() => {
    const confused = createTokenReader({ secrets: [pem], maxAgeSeconds: 60, publicClaims: [] })
    confused(token(good(), (input) => sign('sha256', Buffer.from(input), privateKey), { alg: 'RS256', typ: 'JWT' }))
  })
  t.throws(() => {
    const confused = createTokenReader({ secrets: [pem], maxAgeSeconds: 60, publicClaims: [] })
    confused(token(good(), hmac('sha256', pem), { alg: 'RS256', typ: 'JWT' }))
  })
})

t.test('keeps the type of the id in the token', async (t) => {
  const server = await build(t)
  const [number, text] = [await server.connect(42), await server.connect('42')]
  t.equal(number.greeting.userId, 42)
  t.equal(text.greeting.userId, '42')
  const zero = await server.connect(0)
  t.equal(zero.greeting.userId, 0)

  const joined = await number.ok('room:join', { roomId: 'r1' })
  t.match(joined, { ownerId: 42, self: { userId: 42, role: 'owner' }, participants: [{ userId: 42, id: 42 }] })
  t.match(await text.ok('room:join', { roomId: 'r1' }), { self: { userId: '42', role: 'owner' }, participantCount: 1 }, 'number and string identify the same user')
  t.same(await text.ok('user:getRoom', { userId: 42 }), { roomId: 'r1' })
  t.same(await text.ok('user:getRoom', { userId: '42' }), { roomId: 'r1' })
})

t.test('accepts any string as an id', async (t) => {
  const server = await build(t)
  const ada = await connect(t, server.url, { token: tokenFor('__proto__') })
  t.equal(ada.greeting.userId, '__proto__')
  t.match(await ada.ok('room:join', { roomId: '__proto__' }), { roomId: '__proto__', ownerId: '__proto__' })
  t.same(await ada.ok('user:getRoom', { userId: '__proto__' }), { roomId: '__proto__' })
})

t.test('checks aud, iss and typ if they are configured', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth', JWT_AUDIENCE: 'audio', JWT_ISSUER: 'backend', JWT_TYPE: 'at+JWT' } })
  const claims = { ...good(), aud: 'audio', iss: 'backend' }
  const typed = (typ?: unknown) => ({ alg: 'HS256', ...(typ === undefined ? {} : { typ }) })
  const resultOf = (payload: object, typ: unknown = 'at+jwt') => outcome(t, server.url, { token: token(payload, undefined, typed(typ)) })
  for (const typ of ['at+jwt', 'AT+JWT', 'application/at+jwt']) t.equal(await resultOf(claims, typ), '101', typ)
  t.equal(await resultOf({ ...claims, aud: ['chat', 'audio'] }), '101', 'one of several audiences is enough')
  const refused: Record<string, [payload: object, header: object]> = {
    'another typ': [claims, typed('JWT')],
    'no typ': [claims, typed()],
    'a typ that is a number': [claims, typed(1)],
    'another aud': [{ ...claims, aud: 'chat' }, typed('at+jwt')],
    'other audiences': [{ ...claims, aud: ['chat', 'mail'] }, typed('at+jwt')],
    'no audiences': [{ ...claims, aud: [] }, typed('at+jwt')],
    'no aud': [{ ...good(), iss: 'backend' }, typed('at+jwt')],
    'another iss': [{ ...claims, iss: 'somebody' }, typed('at+jwt')],
    'no iss': [{ ...good(), aud: 'audio' }, typed('at+jwt')]
  }
  for (const [name, [payload, header]] of Object.entries(refused)) t.equal(await outcome(t, server.url, { token: token(payload, undefined, header) }), '401 UNAUTHORIZED', name)

  const own = server.app.features.getFeature('auth')?.sign?.({ id: 5, name: 'Eve' }, '1h')
  t.equal(await outcome(t, server.url, { token: own as string }), '101', 'a token that the server signs')
})

t.test('any typ is accepted if none is configured', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  for (const header of [{ alg: 'HS256' }, { alg: 'HS256', typ: 'at+jwt' }]) t.equal(await outcome(t, server.url, { token: token(good(), undefined, header) }), '101')
})
