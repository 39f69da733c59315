import t from 'tap'
import { build } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

/** Starts a server on which the join of the user `bob` waits until the test calls `finish`. */
async function serverWithSlowJoin (t: Parameters<typeof build>[0]) {
  const server = await build(t, { env: { FEATURES: 'auth,moderation' } })
  const started = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  server.app.hooks.on('room:join', async (_room, { userKey }) => {
    if (userKey !== 'bob') return {}
    started.resolve()
    await goOn.promise
    return {}
  })
  const [ada, bob] = [await server.connect('ada'), await server.connect('bob')]
  await ada.ok('room:join', { roomId: 'r1', pin: '1234' })
  const joining = bob.request('room:join', { roomId: 'r1', pin: '1234' })
  await started.promise
  await ada.ok('room:end')
  await ada.event('room:closed')
  return {
    app: server.app,
    ada,
    async finish () {
      goOn.resolve()
      await joining
    }
  }
}

t.test('releases a room that was closed during a join', async (t) => {
  const { app, finish } = await serverWithSlowJoin(t)
  await finish()
  await until(() => app.rooms.size === 0)
})

t.test('a new room does not keep the PIN of a room that was closed during a join', async (t) => {
  const { app, ada, finish } = await serverWithSlowJoin(t)
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { isLocked: false })
  t.equal(app.rooms.get('r1')?.pinHash, undefined)
  await finish()
  t.ok(app.rooms.get('r1'), 'the new room is not released')
})
