import { createSigner } from 'fast-jwt'
import t from 'tap'
import { build, jwtSecret } from '../../support/build.ts'
import { connectRadio } from '../../support/radio.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const radioSecret = 'a-secret-of-the-radios-that-is-long-enough'

for (const [name, key, env] of [['JWT_SECRET', jwtSecret, {}], ['PTT_JWT_SECRET', radioSecret, { PTT_JWT_SECRET: radioSecret }]] as const) {
  t.test(`tokens signed with ${name}`, async (t) => {
    const server = await build(t, { env: { FEATURES: 'auth,push-to-talk', ...env } })
    const sign = createSigner({ key, algorithm: 'HS256' })
    const status = (token: string) => connectRadio(t, server.url, 1, { token }).then(() => 101, (error: { status: number }) => error.status)

    t.equal(await status(sign({ userId: 1, is_blocked: false })), 101)
    t.equal(await status(sign({ userId: 1, is_blocked: true })), 401, 'the user is blocked')

    const token = sign({ userId: 1 })
    const radio = await connectRadio(t, server.url, 1, { token })
    t.equal((await server.admin('POST', '/admin/tokens/revoke', { token })).status, 204)
    const last = alphabet.indexOf(token.at(-1) as string)
    for (const bits of [0, 1, 2, 3]) t.equal(await status(token.slice(0, -1) + alphabet.charAt(last ^ bits)), 401, `another spelling of the revoked token: last bits ${bits}`)
    t.same(await radio.closed, { code: 4401, reason: 'UNAUTHORIZED' }, 'the connection of the radio closes')
  })
}
