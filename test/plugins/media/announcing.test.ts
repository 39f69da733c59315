import { observer } from 'mediasoup'
import t from 'tap'
import type { Test } from 'tap'
import { build } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'
import { rtpParameters } from '../../support/rtp.ts'

/** The `seats` feature is off, so all members are allowed to send audio. */
const env = { FEATURES: 'auth,media' }

async function scene (t: Test): Promise<{ server: TestServer, ada: TestClient, bob: TestClient, produce: () => ReturnType<TestClient['request']> }> {
  const server = await build(t, { env })
  const [ada, bob] = [await server.connect(1), await server.connect(2)]
  for (const client of [ada, bob]) await client.ok('room:join', { roomId: 'r1' })
  const { id: transportId } = await ada.ok('transport:create', { type: 'producer' })
  return { server, ada, bob, produce: () => ada.request('audio:produce', { transportId, kind: 'audio', rtpParameters: rtpParameters() }) }
}

const audioEvents = ({ events }: TestClient) => events.map(({ type }) => type).filter((type) => type.startsWith('audio:'))

t.test('members receive no events about a producer that closes before it is announced', async (t) => {
  const listed: number[] = []
  const servers: TestServer[] = []
  // The server announces a producer after one more request to the media worker. The reply to that request cannot arrive
  // before the callback of `setImmediate` has run.
  const closeEarly = () => setImmediate(() => {
    for (const { app } of servers) {
      listed.push(app.sfu.producersOf('r1').length)
      for (const producer of app.sfu.producerHandles('r1')) producer.close()
    }
  })
  observer.once('newworker', (worker) => worker.observer.on('newrouter', (router) => router.observer.on('newtransport', (transport) => transport.observer.on('newproducer', closeEarly))))
  const { server, bob, produce } = await scene(t)
  servers.push(server)
  t.match(await produce(), { ok: false, error: { code: 'PRODUCER_NOT_FOUND' } })
  await bob.flush()
  t.same(listed, [0], 'a join at this moment does not list the producer either')
  t.same(audioEvents(bob), [])
})

t.test('members receive the start of a producer before its end, even if a feature closes it immediately', async (t) => {
  const { server, bob, produce } = await scene(t)
  server.app.hooks.on('media:producerOpened', (roomId) => { for (const producer of server.app.sfu.producerHandles(roomId)) producer.close() })
  t.match(await produce(), { ok: false, error: { code: 'PRODUCER_NOT_FOUND' } })
  await bob.flush()
  t.same(audioEvents(bob), ['audio:newProducer', 'audio:producerClosed'])
})

t.test('members do not receive the pause of a producer that has been closed', async (t) => {
  const { server, bob, produce } = await scene(t)
  t.match(await produce(), { ok: true })
  for (const producer of server.app.sfu.producerHandles('r1')) {
    const paused = producer.pause('server')
    producer.close()
    await paused.catch(() => {})
  }
  await bob.flush()
  t.same(audioEvents(bob), ['audio:newProducer', 'audio:producerClosed'])
})
