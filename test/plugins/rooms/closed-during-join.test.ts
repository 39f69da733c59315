import t from 'tap'
import { build, onBothStores } from '../../support/build.ts'
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

t.test('a user stays in the previous room if the next room is closed during the join', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const { rooms, store } = server.app
  const bob = await server.connect('bob')
  await bob.ok('room:join', { roomId: 'r1' })
  await (await server.connect('ada')).ok('room:join', { roomId: 'r2' })
  const join = store.join.bind(store)
  store.join = async (command) => {
    const result = await join(command)
    await rooms.close('r2', 'closed_by_admin')
    return result
  }
  t.equal(await bob.fails('room:join', { roomId: 'r2' }), 'UNAVAILABLE')
  t.match(await bob.ok('room:participants'), { participants: [{ userId: 'bob' }] })
})

onBothStores(t, 'announces a user whose first session closes during its join, while the second one joins', async (t, env) => {
  const server = await build(t, { env: { FEATURES: 'auth', ...env } })
  const [ada, first] = [await server.connect('ada'), await server.connect('bob')]
  await ada.ok('room:join', { roomId: 'r1' })
  const { store } = server.app
  const join = store.join.bind(store)
  const joined = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  store.join = async (command) => {
    const result = await join(command)
    joined.resolve()
    await goOn.promise
    return result
  }
  first.send({ type: 'room:join', data: { roomId: 'r1' } })
  await joined.promise
  store.join = join
  await first.close()
  await (await server.connect('bob')).ok('room:join', { roomId: 'r1' })
  goOn.resolve()
  t.match(await ada.event('room:userJoined'), { userId: 'bob' })
})
