import t from 'tap'
import { act, allowMicrophone, expectTone, getUp, onSeat, personOn, seatOn, visit } from '../support/browser.ts'
import { startCall } from '../support/call.ts'
import { until } from '../support/retry.ts'

// Tests that only users with a seat can send audio. audio.test.ts contains the faster tests.

const room = 'r1'
const { server, ada, bob, bobsBrowser } = await startCall(t, { env: { FEATURES: 'auth,media,seats,stage', SEAT_GRACE_SECONDS: '1' }, room })
await seatOn(bob, 'Take seat 5').click()
await seatOn(ada, 'Seat 5: Bob').waitFor()
await expectTone(ada, 'Bob', 1000)

const statusOf = (page: typeof bob, text: string | RegExp) => page.getByRole('status').filter({ hasText: text }).waitFor()
const sends = (page: typeof bob) => page.evaluate(() => window.flylive?.audio?.publishing)

t.test('a user who joins while another user is muted sees the mute, and receives audio after the unmute', async (t) => {
  await ada.getByRole('button', { name: 'Mute', exact: true }).click()
  await personOn(bob, 'Ada', 'muted').waitFor()
  const dan = await visit(t, bobsBrowser, server.url, { name: 'Dan', room, microphone: false })
  await expectTone(dan, 'Bob', 1000)
  await personOn(dan, 'Ada', 'muted').waitFor()
  await ada.getByRole('button', { name: 'Unmute' }).click()
  await expectTone(dan, 'Ada', 440)
  await dan.context().close()
  await personOn(ada, 'Dan').waitFor({ state: 'detached' })
})

t.test('survives seat changes while audio is being set up', async (t) => {
  // When Bob's page next sends a request of type `next`, Bob's client also sends the request `before` immediately
  // before that request, and the request `after` immediately after that request.
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
  // Wait for the replies to all these requests, because until then, Ada's page may show an earlier state.
  const meddled = () => until(() => bob.evaluate(() => document.documentElement.dataset.meddled === 'yes'))
  const take = (seatIndex: number) => JSON.stringify(['seat:take', { seatIndex }])
  const leave = JSON.stringify(['seat:leave', {}])
  // Bob leaves his seat, so that his page stops sending audio. The test then publishes another track.
  await getUp(bob)
  await seatOn(ada, 'Take seat 5').waitFor()
  await bob.evaluate(async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } })
    const audio = window.flylive?.audio
    audio?.on('refused', ({ message }) => { document.documentElement.dataset.refused = message })
    audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
  })
  const meddling = [[take(6), take(5)], [leave, '[]'], ['[]', take(5)], [leave, take(5)], ['[]', leave]] as const
  for (const [before, after] of meddling) {
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

t.test('a user who reconnects too late to keep the seat takes a different seat', async () => {
  await bob.evaluate(() => {
    // The network is down for longer than the grace period of the seat.
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
  await seatOn(ada, 'Take seat 5').waitFor()
  await onSeat(ada, 5, 'Lock seat 5')
  await seatOn(ada, 'Seat 2: Bob').waitFor({ timeout: 60_000 })
  await expectTone(ada, 'Bob', 1000)
})

t.test('sends a track that was published before the user took a seat', async (t) => {
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

t.test('a user who finds no free seat can only listen', async (t) => {
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
