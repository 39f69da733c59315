import { createHmac } from 'node:crypto'
import t from 'tap'
import { build } from '../../support/build.ts'

t.test('sends the configured ICE servers, with TURN credentials per client', async (t) => {
  const server = await build(t, {
    env: {
      ICE_SERVERS: '[{"urls":"stun:stun.example.com"},{"urls":["turn:a.example.com"],"username":"u","credential":"p"}]',
      TURN_URLS: 'turn:turn.example.com:3478, turns:turn.example.com:5349?transport=tcp',
      TURN_SECRET: 'north-by-northwest'
    }
  })
  const before = Math.floor(Date.now() / 1000)
  const { greeting } = await server.connect(42)
  const [stun, fixed, turn] = greeting.iceServers as { urls: string[], username: string, credential: string }[]
  t.same(stun, { urls: 'stun:stun.example.com' })
  t.same(fixed, { urls: ['turn:a.example.com'], username: 'u', credential: 'p' })
  t.same(turn?.urls, ['turn:turn.example.com:3478', 'turns:turn.example.com:5349?transport=tcp'])
  const [expiry, user] = turn?.username.split(':') ?? []
  t.equal(user, '42')
  t.ok(Number(expiry) >= before + 86_400 && Number(expiry) <= before + 86_400 + 60)
  t.equal(turn?.credential, createHmac('sha1', 'north-by-northwest').update(turn?.username ?? '').digest('base64'), 'the same as coturn computes')
})

t.test('sends an empty list if no ICE servers are configured', async (t) => {
  const server = await build(t)
  t.same((await server.connect(1)).greeting.iceServers, [])
})

t.test('omits iceServers from the greeting while media is disabled', async (t) => {
  const server = await build(t, { env: { FEATURES: '-media' } })
  t.notOk('iceServers' in (await server.connect(1)).greeting)
})
