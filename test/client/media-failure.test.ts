import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { MediaFailure, RequestError } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import type { TestServer } from '../support/build.ts'
import { forwardMedia, unreachableAddress } from '../support/media.ts'
import { stopwatch } from '../support/pace.ts'
import { until } from '../support/retry.ts'
import { createTone } from '../support/wrtc.ts'

// Tests clients whose signalling works while their audio connection fails.

/** Creates a client and records its audio states, such as `connecting MEDIA_FAILED`. */
function enter (t: Test, server: TestServer, id: number) {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111' } })
  t.teardown(() => room.close())
  const audio = room.audio as NonNullable<typeof room.audio>
  const states: string[] = []
  const failures: RequestError[] = []
  audio.on('state', (state, why) => {
    states.push(why ? `${state} ${(why as RequestError).code}` : state)
    if (why) failures.push(why as RequestError)
  })
  return { room, audio, states, failures }
}

const metricsOf = async ({ url }: TestServer) => await (await fetch(`${url}/metrics`)).text()

t.test('reports an announced address that clients cannot reach', async (t) => {
  const logged: Record<string, unknown>[] = []
  const server = await build(t, {
    env: { FEATURES: 'auth,media', MEDIASOUP_ANNOUNCED_IP: unreachableAddress, MEDIASOUP_WORKERS: '1' },
    log: (line) => logged.push(line)
  })
  const passed = stopwatch()
  const speaker = enter(t, server, 1)
  const listener = enter(t, server, 2)
  await speaker.room.join('r1')
  let sent = false
  speaker.audio.publish(createTone(t)).then(() => { sent = true })
  await listener.room.join('silent')
  // Wait for the media worker, which starts only on first use.
  const port = await until(() => server.app.sfu.workers()[0]?.port ?? false)

  await t.test('the client reports MEDIA_FAILED with the reason within 15 s, and never the state `on`', async (t) => {
    await until(() => speaker.failures.length > 0 && listener.failures.length > 0, 60_000)
    t.ok(passed() < 15_000)
    for (const { audio, states, failures } of [speaker, listener]) {
      t.same(states, ['connecting', 'connecting MEDIA_FAILED'])
      t.match(failures[0], { code: 'MEDIA_FAILED', message: `The server's media port cannot be reached at ${unreachableAddress}:${port}/udp` })
      t.match(failures[0]?.details as MediaFailure, { reason: 'ice', addresses: [`${unreachableAddress}:${port}/udp`, `${unreachableAddress}:${port}/tcp`] })
      t.equal(audio.failure, failures[0])
    }
    t.equal(speaker.audio.microphone, 'waiting')
    t.match(speaker.room.participants, [{ isSelf: true, microphone: 'none' }])
    t.equal(sent, false)
  })

  await t.test('the server warns with the announced address and the port, and counts the failures', async (t) => {
    const warning = await until(() => logged.find(({ level, announced }) => level === 40 && announced !== undefined) ?? false, 60_000)
    t.match(warning, { announced: [unreachableAddress], port, msg: /received no packets from a client at the announced addresses/ })
    const metrics = await until(async () => {
      const text = await metricsOf(server)
      return text.includes('flylive_ice_failures_total{phase="setup"} 3') && text
    })
    t.match(metrics, 'flylive_transports{state="failed"} 3')
    t.match(metrics, 'flylive_transports{state="connected"} 0')
    t.equal(logged.filter(({ announced }) => announced !== undefined).length, 1, 'one warning for all transports')
  })

  await t.test('client and metrics recover when the address becomes reachable', async (t) => {
    await forwardMedia(t.parent as Test, port)
    await until(() => speaker.audio.state === 'on' && listener.audio.state === 'on', 60_000)
    await until(() => speaker.audio.microphone === 'live' && sent)
    for (const { audio, states } of [speaker, listener]) {
      t.equal(states.indexOf('on'), states.length - 1)
      t.equal(audio.failure, undefined)
    }
    t.match(speaker.room.participants, [{ isSelf: true, microphone: 'live' }])
    await until(async () => (await metricsOf(server)).includes('flylive_transports{state="connected"} 3'))
    speaker.room.close()
    await until(async () => (await metricsOf(server)).includes('flylive_transports{state="connected"} 1'))
    t.match(await metricsOf(server), 'flylive_transports{state="failed"} 0')
  })
})

t.test('a failed DTLS handshake is reported with the reason `dtls`', async (t) => {
  const logged: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth,media' }, log: (line) => logged.push(line) })
  const { room, failures, states } = enter(t, server, 1)
  const { connection } = room
  const request = connection.request as (...args: unknown[]) => Promise<{ dtlsParameters?: { fingerprints: { value: string }[] } }>
  // Replace the certificate fingerprints, so that the client expects a different certificate.
  Object.assign(connection, {
    async request (...args: unknown[]) {
      const reply = await request(...args)
      for (const fingerprint of reply.dtlsParameters?.fingerprints ?? []) fingerprint.value = fingerprint.value.replace(/[0-9A-F]/gi, '0')
      return reply
    }
  })
  await room.join('r1')
  await until(() => failures.length > 0, 60_000)
  t.match(failures[0], { code: 'MEDIA_FAILED', details: { reason: 'dtls' } })
  t.notOk(states.includes('on'))
  await until(async () => /flylive_dtls_failures_total [1-9]/.test(await metricsOf(server)), 60_000)
  t.match(logged.find(({ level, announced }) => level === 40 && announced !== undefined), { announced: ['127.0.0.1'], msg: /DTLS/ })
})
