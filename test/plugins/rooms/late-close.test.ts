import t from 'tap'
import { createEvent } from '../../../plugins/connections/face.ts'
import { channelOf, closedMessage } from '../../../plugins/rooms/channel.ts'
import { build, onBothStores } from '../../support/build.ts'

onBothStores(t, 'a late message about a closed room does not affect a later room with the same name', async (t, env) => {
  const { app, connect } = await build(t, { env: { FEATURES: 'auth', ...env } })
  const ada = await connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  const { createdAt } = (await app.store.getRoom('r1'))!
  const publishClosed = async (at: number) => {
    const message = closedMessage(createEvent('room:closed', { roomId: 'r1', reason: 'inactivity', timestamp: at }), 'inactivity')
    await app.bus.publish(channelOf('r1'), `${message}\n${at}`)
  }
  await publishClosed(createdAt - 1)
  app.rooms.emit('r1', 'test:after', {})
  await ada.event('test:after')
  t.ok((await ada.request('room:participants')).ok)
  await publishClosed(createdAt)
  t.match(await ada.event('room:closed'), { timestamp: createdAt })
  t.equal(await ada.fails('room:participants'), 'NOT_IN_ROOM')
})
