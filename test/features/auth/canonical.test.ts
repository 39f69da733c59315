import t from 'tap'
import { build, onEveryStore, tokenFor } from '../../support/build.ts'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

onEveryStore(t, 'rejects a revoked token whose signature is encoded differently', async (t, env) => {
  const server = await build(t, { env })
  const token = tokenFor(1)
  t.equal((await server.admin('POST', '/admin/tokens/revoke', { token })).status, 204)
  const last = alphabet.indexOf(token.at(-1) as string)
  for (const bits of [0, 1, 2, 3]) {
    const spelt = token.slice(0, -1) + alphabet.charAt(last ^ bits)
    t.equal((await fetch(`${server.url}/auth/session`, { headers: { authorization: `Bearer ${spelt}` } })).status, 401, `last bits ${bits}`)
  }
})
