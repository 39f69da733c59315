import t from 'tap'
import { build } from '../support/build.ts'
import { act, allowMicrophone, expectTone, frequencyOf, getUp, onSeat, openBrowser, personOn, receptionOf, seatOn, visit } from '../support/browser.ts'
import { until } from '../support/retry.ts'

// Seats control who may send audio. Ada, the owner, sends a tone of 440 Hz; Bob sends a tone of 1000 Hz.

const [server, adasBrowser, bobsBrowser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,seats,stage', SEAT_GRACE_SECONDS: '1' } }),
  openBrowser(t, 440),
  openBrowser(t, 1000)
])
const room = 'r1'
const ada = await visit(t, adasBrowser, server.url, { name: 'Ada', room })
await seatOn(ada, 'Seat 1: you').waitFor()
const bob = await visit(t, bobsBrowser, server.url, { name: 'Bob', room })
await Promise.all([expectTone(bob, 'Ada', 440), expectTone(ada, 'Bob', 1000)])
await seatOn(ada, 'Seat 2: Bob').waitFor()

const statusOf = (page: typeof bob, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
const sends = (page: typeof bob) => page.evaluate(() => window.flylive?.audio?.publishing)

t.test('hides chat and gifts while the features are disabled', async (t) => {
  for (const name of ['Send', 'Chat']) t.equal(await ada.getByRole('button', { name }).count(), 0)
  t.equal(await ada.getByLabel('Message').isVisible(), false)
})

t.test('a user who leaves the seat is silent, and audible again on another seat', async (t) => {
  await getUp(bob)
  await statusOf(bob, 'Connected, listening')
  await personOn(ada, 'Bob', 'listening').waitFor()
  await until(async () => await receptionOf(ada, 'Bob') === undefined)
  t.equal(await sends(bob), false, 'the microphone is off')
  await seatOn(bob, 'Take seat 4').click()
  await expectTone(ada, 'Bob', 1000)
  await seatOn(ada, 'Seat 4: Bob').waitFor()
})

t.test('a user who changes seats sends a new stream', async (t) => {
  const before = await receptionOf(ada, 'Bob')
  await seatOn(bob, 'Take seat 5').click()
  await until(async () => ![undefined, before?.producerId].includes((await receptionOf(ada, 'Bob'))?.producerId))
  await expectTone(ada, 'Bob', 1000)
  await statusOf(bob, /^Connected$/)
  t.equal(server.app.sfu.producersOf(room).length, 2, 'the old producer is closed')
})

t.test('survives rapid seat changes', async (t) => {
  await bob.evaluate(async () => {
    const connection = window.flylive?.connection
    await Promise.all([1, 2, 3, 5, 6, 4].map((seatIndex) => connection?.request('seat:take', { seatIndex })))
  })
  await expectTone(ada, 'Bob', 1000)
  await seatOn(ada, 'Seat 5: Bob').waitFor()
  await until(() => server.app.sfu.producersOf(room).length === 2)
  await expectTone(bob, 'Ada', 440)
})

t.test('survives seat changes while audio is being set up', async (t) => {
  // Makes Bob's page send one request right before and another right after its next request of type `next`.
  const meddle = (next: string, before: string, after: string) => bob.evaluate(([next, before, after]) => {
    const connection = (window.flylive as NonNullable<typeof window.flylive>).connection
    const { request } = connection
    document.documentElement.dataset.meddled = 'no'
    connection.request = new Proxy(request, {
      apply (_request, _this, args: Parameters<typeof request>) {
        const ask = async (call: string | undefined) => {
          const [type, data] = JSON.parse(call ?? '[]') as Parameters<typeof request>
          if (type !== undefined) await Reflect.apply(request, connection, [type, data])
        }
        if (args[0] !== next) return Reflect.apply(request, connection, args)
        connection.request = request
        const asked = [ask(before)]
        const reply = Reflect.apply(request, connection, args)
        asked.push(ask(after))
        Promise.allSettled([...asked, reply]).then(() => { document.documentElement.dataset.meddled = 'yes' })
        return reply
      }
    })
  }, [next, before, after])
  // Until these requests are done, Ada's page may show an earlier state.
  const meddled = () => until(() => bob.evaluate(() => document.documentElement.dataset.meddled === 'yes'))
  const take = (seatIndex: number) => JSON.stringify(['seat:take', { seatIndex }])
  const leave = JSON.stringify(['seat:leave', {}])
  // The test publishes its own track. Bob leaves his seat first, so that the page drops its own track.
  await getUp(bob)
  await seatOn(ada, 'Take seat 5').waitFor()
  await bob.evaluate(async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    const audio = window.flylive?.audio
    audio?.on('refused', ({ message }) => { document.documentElement.dataset.refused = message })
    audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
  })
  // seats.long.ts tries all of these.
  const meddling = [[take(6), take(5)], [leave, '[]'], ['[]', take(5)], [leave, take(5)], ['[]', leave]] as const
  for (const [before, after] of process.env.ALL_CHANGES === undefined ? meddling.slice(0, 2) : meddling) {
    await meddle('audio:produce', before, after)
    await bob.evaluate(() => window.flylive?.connection.request('seat:take', { seatIndex: 4 }))
    await meddled()
    const left = after === leave || (before === leave && after === '[]')
    await (left ? seatOn(ada, 'Take seat 5').waitFor() : expectTone(ada, 'Bob', 1000))
    await until(() => server.app.sfu.producersOf(room).length === (left ? 1 : 2))
    if (!left) await bob.evaluate(() => window.flylive?.connection.request('seat:leave', {}))
    await expectTone(ada, 'Bob', 0)
  }
  await bob.evaluate(() => window.flylive?.connection.request('seat:take', { seatIndex: 4 }))
  await expectTone(ada, 'Bob', 1000)
  await meddle('audio:selfMute', leave, take(4))
  await bob.evaluate(() => window.flylive?.audio?.mute())
  await meddled()
  await personOn(ada, 'Bob', 'muted').waitFor()
  await seatOn(ada, 'Seat 5: Bob').waitFor()
  await bob.evaluate(() => window.flylive?.audio?.unmute())
  await expectTone(ada, 'Bob', 1000)
  await bob.evaluate(() => window.flylive?.connection.request('seat:leave', {}))
  await expectTone(ada, 'Bob', 0)
  t.equal(await bob.evaluate(() => document.documentElement.dataset.refused), undefined)
  await bob.evaluate(() => window.flylive?.audio?.unpublish())
  await seatOn(bob, 'Take seat 5').click()
  await expectTone(ada, 'Bob', 1000)
})

t.test('a user muted by the owner stays muted', async (t) => {
  await act(ada, 'Bob', 'Mute Bob')
  await statusOf(bob, 'Connected, muted by the host')
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'muted').waitFor()
  await expectTone(ada, 'Bob', 0)

  t.equal(await bob.getByRole('button', { name: 'Muted by the host' }).isDisabled(), true)
  await bob.evaluate(() => {
    window.flylive?.audio?.mute()
    window.flylive?.audio?.unmute()
  })
  // Once the server replies to a later request from Bob, it has handled his earlier requests.
  await bob.evaluate(() => window.flylive?.connection.request('user:getRoom', { userId: 1 }))
  for (const page of [ada, bob]) t.equal(await personOn(page, 'Bob', 'muted').count(), 1)
  t.equal(await frequencyOf(ada, 'Bob'), 0)

  const entered = bob.evaluate(() => new Promise((resolve) => window.flylive?.on('entered', () => resolve(true))))
  const bobsId = await bob.evaluate(() => window.flylive?.connection.greeting?.sessionId)
  server.app.sockets.get(bobsId as string)?.terminate()
  await entered
  await until(() => server.app.sfu.producersOf(room).length === 2)
  await statusOf(bob, 'Connected, muted by the host')
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'muted').waitFor()
  t.equal(await frequencyOf(ada, 'Bob'), 0, 'also after a reconnect')

  await seatOn(bob, 'Take seat 2').click()
  await seatOn(ada, 'Seat 2: Bob').waitFor()
  await until(() => server.app.sfu.producersOf(room).length === 2)
  t.equal(await frequencyOf(ada, 'Bob'), 0, 'also on another seat')

  await act(ada, 'Bob', 'Unmute Bob')
  await expectTone(ada, 'Bob', 1000)
  for (const page of [ada, bob]) await personOn(page, 'Bob', 'speaking').waitFor()
  await statusOf(bob, /^Connected$/)
})

t.test('a user who reconnects too late takes another seat', async () => {
  await bob.evaluate(() => {
    // The network is down for longer than the seat's grace period.
    const socket = WebSocket
    const back = Date.now() + 2500
    window.WebSocket = class extends socket {
      constructor (url: string | URL, protocols?: string | string[]) {
        if (Date.now() < back) super(new URL('/nowhere', location.href.replace('http', 'ws')))
        else super(url, protocols)
      }
    }
  })
  const bobsId = await bob.evaluate(() => window.flylive?.connection.greeting?.sessionId)
  server.app.sockets.get(bobsId as string)?.terminate()
  await seatOn(ada, 'Take seat 2').waitFor()
  await onSeat(ada, 2, 'Lock seat 2')
  await seatOn(ada, 'Seat 3: Bob').waitFor({ timeout: 60_000 })
  await expectTone(ada, 'Bob', 1000)
})

t.test('sends a track that was published before the user had a seat', async (t) => {
  const cyd = await visit(t, bobsBrowser, server.url, { name: 'Cyd', room, microphone: false })
  await statusOf(cyd, 'Connected, listening')
  await allowMicrophone(cyd)
  await cyd.evaluate(async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    window.flylive?.audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack).then(() => { document.documentElement.dataset.sent = 'yes' })
  })
  await statusOf(cyd, 'Connected, listening')
  t.equal(server.app.sfu.producersOf(room).length, 2)
  t.equal(await cyd.evaluate(() => document.documentElement.dataset.sent), undefined)

  await act(ada, 'Cyd', 'Invite Cyd to a seat')
  await cyd.getByRole('button', { name: 'Decline' }).click()
  await cyd.getByRole('button', { name: 'Accept' }).waitFor({ state: 'hidden' })
  t.equal(server.app.sfu.producersOf(room).length, 2)

  for (let i = 0; i < 2; i++) {
    await cyd.evaluate(() => window.flylive?.connection.request('seat:take', { seatIndex: 6 }))
    await expectTone(ada, 'Cyd', 1000)
    t.equal(await cyd.evaluate(() => document.documentElement.dataset.sent), 'yes')
    await cyd.evaluate(() => window.flylive?.connection.request('seat:leave', {}))
    await expectTone(ada, 'Cyd', 0)
    await personOn(cyd, 'Cyd', 'listening').waitFor()
    t.equal(await sends(cyd), true, 'the track is kept for the next seat')
  }
  await cyd.context().close()
})

t.test('a user without a free seat listens', async (t) => {
  const owner = await server.connect(1)
  await owner.ok('room:join', { roomId: 'small', seatCount: 1 })
  await owner.ok('seat:take', { seatIndex: 0 })
  const dan = await visit(t, bobsBrowser, server.url, { name: 'Dan', room: 'small', microphone: false })
  await statusOf(dan, 'Connected, listening')
  t.equal(await dan.getByRole('button', { name: 'Speak', exact: true }).count(), 0)
  t.equal(await sends(dan), false)
  await allowMicrophone(dan)
  t.same(await dan.getByRole('group', { name: 'Seats' }).getByRole('button').count(), 1, 'the room has one seat')
  await owner.ok('seat:leave')
  await dan.evaluate(() => window.flylive?.connection.request('seat:take', { seatIndex: 0 }))
  await personOn(dan, 'Dan', 'microphone off').waitFor()
  await dan.evaluate(() => window.flylive?.connection.request('seat:leave', {}))
  await dan.getByRole('button', { name: 'Speak', exact: true }).click()
  await seatOn(dan, 'Seat 1: you').waitFor()
  await until(() => server.app.sfu.producersOf('small').length === 1)
  await statusOf(dan, /^Connected$/)
})
