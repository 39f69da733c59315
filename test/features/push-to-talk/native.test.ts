import wrtc from '@roamhq/wrtc'
import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../../client/index.ts'
import { build, tokenFor } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { connectRadio } from '../../support/radio.ts'
import type { TestRadio } from '../../support/radio.ts'
import { redisDatabase } from '../../support/redis.ts'
import { frequencyOf } from '../../support/frequency.ts'
import { until } from '../../support/retry.ts'
import { createTone } from '../../support/wrtc.ts'

// Radios and native clients receive each other's audio.

const { RTCAudioSink } = wrtc.nonstandard
const features = 'auth,media,seats,push-to-talk'
const hz = 500

async function enter (t: Test, server: TestServer, id: number, channel: number, receive: boolean) {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id, { channelIds: [channel] }), audio: { handlerName: 'Chrome111', ...(receive ? {} : { receive: false }) } })
  t.teardown(() => room.close())
  await room.join(`ptt:${channel}`)
  return room
}

/** Sends the packets over a radio's connection, repeatedly until the test ends. */
function replay (t: Test, radio: TestRadio, from: number, channel: number, packets: readonly unknown[]): void {
  let next = 0
  const timer = setInterval(() => radio.send(0, 3, from, channel, packets[next++ % packets.length]), 20)
  t.teardown(() => clearInterval(timer))
}

t.test('radios and native clients hear each other', async (t) => {
  const server = await build(t, { env: { FEATURES: features } })
  const bob = await connectRadio(t, server.url, 2, { claims: { channelIds: [5, 6] } })
  const ada = await enter(t, server, 1, 5, false)
  await ada.audio?.publish(createTone(t))
  t.same((await bob.next(1)).slice(0, 4), [0, 1, 1, 5], 'the native client takes the floor without a seat')
  bob.send(0, 1, 2, 5)
  t.match(await bob.next(8), { 4: 'Busy' })
  const packets: unknown[] = []
  for (let i = 0; i < 60; i++) packets.push((await bob.next(3))[4])
  await ada.audio?.unpublish()
  t.same((await bob.next(2)).slice(0, 4), [0, 2, 1, 5])

  const listener = await enter(t, server, 3, 6, true)
  bob.send(0, 1, 2, 6)
  await bob.next(6)
  // This packet is too large for UDP, so native clients do not receive it.
  bob.send(0, 3, 2, 6, Buffer.alloc(65_500, 1))
  replay(t, bob, 2, 6, packets.slice(10))
  const [heard] = await until(() => listener.audio?.heard.length === 1 && listener.audio.heard)
  t.equal(heard?.userId, 2)
  const frequency = frequencyOf(t, RTCAudioSink, heard?.track as MediaStreamTrack)
  await until(() => Math.abs(frequency() - hz) < 10)
  t.pass(`the tone of ${hz} Hz was received in both directions`)
  await until(() => server.app.sfu.speakersOf('ptt:6').includes(2))
})

t.test('radios and native clients on two servers hear each other', async (t) => {
  const env = { FEATURES: features, REDIS_URL: await redisDatabase() }
  const [here, there] = [await build(t, { env: { ...env, NODE_ID: 'a' } }), await build(t, { env: { ...env, NODE_ID: 'b' } })]
  const ada = await enter(t, here, 1, 5, false)
  const bob = await connectRadio(t, there.url, 2, { claims: { channelIds: [5] } })
  const eve = await enter(t, there, 3, 5, true)
  /** Waits until Eve receives exactly one producer, and checks the user and the tone of this producer. */
  const receivesTone = async (userId: number) => {
    const [received] = await until(() => eve.audio?.heard.length === 1 && eve.audio.heard)
    t.equal(received?.userId, userId)
    const frequency = frequencyOf(t, RTCAudioSink, received?.track as MediaStreamTrack)
    await until(() => Math.abs(frequency() - hz) < 10)
    t.equal(eve.audio?.heard.length, 1, 'the listener receives the talk only once')
  }
  await ada.audio?.publish(createTone(t))
  t.same((await bob.next(1)).slice(0, 4), [0, 1, 1, 5])
  const packets: unknown[] = []
  for (let i = 0; i < 60; i++) packets.push((await bob.next(3))[4])
  await receivesTone(1)
  await ada.audio?.unpublish()
  await bob.next(2)
  await until(() => eve.audio?.heard.length === 0)

  // There is no native client on the radio's server.
  ada.close()
  const radio = await connectRadio(t, here.url, 4, { claims: { channelIds: [5] } })
  radio.send(0, 1, 4, 5)
  replay(t, radio, 4, 5, packets.slice(10))
  await receivesTone(4)
  await here.admin('POST', '/admin/rooms/ptt:5/kick', { userId: 4 })
  t.same((await bob.next(2, ([,, userId]) => userId === 4)).slice(0, 4), [0, 2, 4, 5])
  await until(() => eve.audio?.heard.length === 0)
  radio.send(0, 1, 4, 5)
  await radio.next(27)
})
