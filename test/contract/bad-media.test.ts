import fc from 'fast-check'
import t from 'tap'
import * as shapes from '../../features/media/messages.ts'
import { fitting, nearly, tries } from '../support/arbitrary.ts'
import { scene } from '../support/scene.ts'
import { build } from '../support/build.ts'
import { dtlsParameters, rtpCapabilities, rtpParameters } from '../support/rtp.ts'

const opusParameters = (ssrc = 11_111_111, mid = '0') => ({ ...rtpParameters(), mid, encodings: [{ ssrc, dtx: false }] })

type Json = Parameters<typeof fc.constant>[0]
const near = (value: unknown) => nearly(fc.constant(value) as fc.Arbitrary<never>)
// Values that pass the schema and reach the media worker.
const opus = { mimeType: fc.constantFrom('audio/opus', 'AUDIO/opus', 'audio/OPUS'), payloadType: fc.integer({ min: 0, max: 127 }) }
const anyRtp = fc.oneof(
  fitting(shapes.rtpParameters, { ...opus, channels: fc.constant(2) }),
  near(opusParameters()),
  fitting(shapes.rtpParameters, opus)
)
const anyDtls = fc.oneof(fitting(shapes.dtlsParameters, { value: fc.constant(dtlsParameters.fingerprints[0]?.value as string) }), near(dtlsParameters))
const anyCapabilities = fc.oneof(
  fitting(shapes.rtpCapabilities, { mimeType: fc.constantFrom('audio/opus', 'audio/opus', 'video/VP8', 'audio/PCMU'), clockRate: fc.constantFrom(48_000, 8000), channels: fc.constantFrom(2, 1) }),
  near(rtpCapabilities)
)

t.test('a media worker survives arbitrary parameters', async (t) => {
  const { attacker, victim, ids, restore, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const outcomes = { ok: 0, refused: 0 }
  const id = (name: string) => ids.get(name) as string
  const request = async (type: string, data: Record<string, unknown>) => {
    const reply = await attacker.request(type, data)
    outcomes[reply.ok ? 'ok' : 'refused']++
    if (!reply.ok && !['VALIDATION_FAILED', 'CANNOT_CONSUME', 'TRANSPORT_ALREADY_CONNECTED'].includes(reply.error.code)) throw new Error(`${type}: ${JSON.stringify(reply.error)}`)
    return reply
  }
  const worked = (what: string) => {
    t.ok(outcomes.ok > 0, `${what}: ${outcomes.ok} were accepted`)
    t.ok(outcomes.refused > 0, `${what}: ${outcomes.refused} were rejected`)
    outcomes.ok = outcomes.refused = 0
  }
  const fits = (data: Json) => Buffer.byteLength(JSON.stringify(data)) < 60_000

  await fc.assert(fc.asyncProperty(anyRtp.filter(fits), async (rtpParameters) => {
    await restore()
    const { ok, data } = await request('audio:produce', { transportId: id('own.producerTransport'), kind: 'audio', rtpParameters })
    if (!ok) return
    // If the server accepts a producer, other users must be able to consume that producer.
    const consumed = await victim.ok('audio:consume', { transportId: id('victim.consumerTransport'), producerId: data.id, rtpCapabilities })
    await victim.ok('consumer:resume', { consumerId: consumed.id })
    await attacker.ok('audio:closeProducer', { producerId: data.id })
    await victim.event('consumer:closed', ({ consumerId }) => consumerId === consumed.id)
  }), tries(200))
  worked('audio:produce')
  victim.events.length = 0

  await fc.assert(fc.asyncProperty(anyDtls.filter(fits), async (dtlsParameters) => {
    const { id: transportId } = await attacker.ok('transport:create', { type: 'consumer' })
    await request('transport:connect', { transportId, dtlsParameters })
    await attacker.ok('transport:restartIce', { transportId })
  }), tries(150))
  worked('transport:connect')

  await fc.assert(fc.asyncProperty(anyCapabilities.filter(fits), async (rtpCapabilities) => {
    await restore()
    const { ok, data } = await request('audio:consume', { transportId: id('own.consumerTransport'), producerId: id('victim.producer'), rtpCapabilities })
    if (ok) await attacker.ok('consumer:resume', { consumerId: data.id })
  }), tries(150))
  worked('audio:consume')
  await restore()
  await unharmed(t)
})

t.test('validates DTLS parameters', async (t) => {
  const { attacker, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const good = dtlsParameters.fingerprints[0] as { algorithm: string, value: string }
  const connect = async (parameters: unknown) => {
    const { id: transportId } = await attacker.ok('transport:create', { type: 'consumer' })
    const { ok, error } = await attacker.request('transport:connect', { transportId, dtlsParameters: parameters })
    return ok ? 'ok' : error.code
  }
  const cases: Record<string, [parameters: unknown, outcome: string]> = {
    good: [dtlsParameters, 'ok'],
    'no role': [{ fingerprints: [good] }, 'ok'],
    'role auto': [{ ...dtlsParameters, role: 'auto' }, 'ok'],
    'role server': [{ ...dtlsParameters, role: 'server' }, 'ok'],
    'role active': [{ ...dtlsParameters, role: 'active' }, 'VALIDATION_FAILED'],
    'role null': [{ ...dtlsParameters, role: null }, 'VALIDATION_FAILED'],
    'no fingerprints': [{ role: 'client', fingerprints: [] }, 'VALIDATION_FAILED'],
    'no fingerprints field': [{ role: 'client' }, 'VALIDATION_FAILED'],
    'too many fingerprints': [{ fingerprints: Array.from({ length: 11 }, () => good) }, 'VALIDATION_FAILED'],
    'another algorithm': [{ fingerprints: [{ ...good, algorithm: 'md5' }] }, 'VALIDATION_FAILED'],
    'SHA-256 in capitals': [{ fingerprints: [{ ...good, algorithm: 'SHA-256' }] }, 'VALIDATION_FAILED'],
    'the length of another algorithm': [{ fingerprints: [{ ...good, algorithm: 'sha-1' }] }, 'VALIDATION_FAILED'],
    'one octet short': [{ fingerprints: [{ ...good, value: good.value.slice(3) }] }, 'VALIDATION_FAILED'],
    'one octet long': [{ fingerprints: [{ ...good, value: `AB:${good.value}` }] }, 'VALIDATION_FAILED'],
    'lower case': [{ fingerprints: [{ ...good, value: good.value.toLowerCase() }] }, 'ok'],
    'upper case': [{ fingerprints: [{ ...good, value: good.value.toUpperCase() }] }, 'ok'],
    'no colons': [{ fingerprints: [{ ...good, value: good.value.replaceAll(':', '') }] }, 'VALIDATION_FAILED'],
    'no hex': [{ fingerprints: [{ ...good, value: good.value.replace('10', 'XY') }] }, 'VALIDATION_FAILED'],
    'an empty value': [{ fingerprints: [{ ...good, value: '' }] }, 'VALIDATION_FAILED'],
    'a huge value': [{ fingerprints: [{ ...good, value: 'AB:'.repeat(20_000) }] }, 'VALIDATION_FAILED'],
    'a line end': [{ fingerprints: [{ ...good, value: `${good.value}\n` }] }, 'VALIDATION_FAILED'],
    'a value that is a number': [{ fingerprints: [{ ...good, value: 1 }] }, 'VALIDATION_FAILED'],
    'all algorithms': [{ fingerprints: [20, 28, 32, 48, 64].map((octets) => ({ algorithm: { 20: 'sha-1', 28: 'sha-224', 32: 'sha-256', 48: 'sha-384', 64: 'sha-512' }[octets], value: Array.from({ length: octets }, () => 'AB').join(':') })) }, 'ok'],
    null: [null, 'VALIDATION_FAILED'],
    'a list': [[dtlsParameters], 'VALIDATION_FAILED']
  }
  for (const [name, [parameters, outcome]] of Object.entries(cases)) t.equal(await connect(parameters), outcome, name)
  await unharmed(t)
})

t.test('validates RTP parameters', async (t) => {
  const { attacker, ids, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const transportId = ids.get('own.producerTransport')
  await attacker.ok('audio:closeProducer', { producerId: ids.get('own.producer') })
  const produce = async (rtpParameters: unknown, kind: unknown = 'audio') => {
    const { ok, data, error } = await attacker.request('audio:produce', { transportId, kind, rtpParameters })
    if (ok) await attacker.ok('audio:closeProducer', { producerId: data.id })
    return ok ? 'ok' : error.code
  }
  const good = opusParameters()
  const [codec] = good.codecs as [typeof good.codecs[number]]
  const [extension] = good.headerExtensions as [typeof good.headerExtensions[number]]
  const withCodec = (change: object) => ({ ...good, codecs: [{ ...codec, ...change }] })
  const withEncoding = (change: object) => ({ ...good, encodings: [{ ssrc: 1, ...change }] })
  const refused = 'VALIDATION_FAILED'

  const cases: Record<string, [parameters: unknown, outcome: string]> = {
    good: [good, 'ok'],
    'no mid': [{ ...good, mid: undefined }, 'ok'],
    'an empty mid': [{ ...good, mid: '' }, refused],
    'a huge mid': [{ ...good, mid: 'm'.repeat(1000) }, refused],
    'no codecs': [{ ...good, codecs: [] }, refused],
    'two codecs': [{ ...good, codecs: [codec, { ...codec, payloadType: 112 }] }, refused],
    'another codec': [withCodec({ mimeType: 'audio/PCMU' }), refused],
    video: [withCodec({ mimeType: 'video/VP8', clockRate: 90_000, channels: undefined }), refused],
    'opus as video': [withCodec({ mimeType: 'video/opus' }), refused],
    'no mime type': [withCodec({ mimeType: '' }), refused],
    'opus in capitals': [withCodec({ mimeType: 'AUDIO/OPUS' }), 'ok'],
    'payload type 127': [withCodec({ payloadType: 127 }), 'ok'],
    'payload type 128': [withCodec({ payloadType: 128 }), refused],
    'payload type 200': [withCodec({ payloadType: 200 }), refused],
    'payload type -1': [withCodec({ payloadType: -1 }), refused],
    'payload type 1.5': [withCodec({ payloadType: 1.5 }), refused],
    'channels 0': [withCodec({ channels: 0 }), refused],
    'one channel': [withCodec({ channels: 1 }), refused],
    'three channels': [withCodec({ channels: 3 }), refused],
    'channels omitted': [withCodec({ channels: undefined }), refused],
    'another clock rate': [withCodec({ clockRate: 44_100 }), refused],
    'clock rate 0': [withCodec({ clockRate: 0 }), refused],
    'a huge codec parameter': [withCodec({ parameters: { useinbandfec: 'x'.repeat(50_000) } }), refused],
    'thousands of codec parameters': [withCodec({ parameters: Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`p${i}`, i])) }), refused],
    'nested codec parameters': [withCodec({ parameters: { a: { b: 1 } } }), refused],
    'a codec parameter of 2^31': [withCodec({ parameters: { maxptime: 2 ** 31 } }), refused],
    'a codec parameter with a fraction': [withCodec({ parameters: { maxptime: 0.5 } }), refused],
    'codec parameters without a value': [withCodec({ parameters: { useinbandfec: null } }), refused],
    'codec parameters that are strings': [withCodec({ parameters: { useinbandfec: '1', 'x-google-min-bitrate': 'a' } }), 'ok'],
    'apt, which opus does not have': [withCodec({ parameters: { apt: 'x' } }), refused],
    'too much feedback': [withCodec({ rtcpFeedback: Array.from({ length: 17 }, () => ({ type: 'nack' })) }), refused],
    'feedback without type': [withCodec({ rtcpFeedback: [{ type: '' }] }), refused],
    'a header extension id twice': [{ ...good, headerExtensions: [extension, { ...extension, uri: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level' }] }, refused],
    'a header extension twice': [{ ...good, headerExtensions: [extension, { ...extension, id: 9 }] }, refused],
    'header extension id 0': [{ ...good, headerExtensions: [{ ...extension, id: 0 }] }, refused],
    'header extension id 255': [{ ...good, headerExtensions: [{ ...extension, id: 255 }] }, 'ok'],
    'header extension id 256': [{ ...good, headerExtensions: [{ ...extension, id: 256 }] }, refused],
    'an unknown header extension': [{ ...good, headerExtensions: [{ ...extension, uri: 'urn:nothing' }] }, refused],
    'no encodings': [{ ...good, encodings: [] }, refused],
    'two encodings': [{ ...good, encodings: [{ ssrc: 1 }, { ssrc: 2 }] }, refused],
    'an encoding without ssrc': [{ ...good, encodings: [{}] }, refused],
    'ssrc 0': [withEncoding({ ssrc: 0 }), refused],
    'ssrc -1': [withEncoding({ ssrc: -1 }), refused],
    'ssrc 1.5': [withEncoding({ ssrc: 1.5 }), refused],
    'ssrc 2^32 - 1': [withEncoding({ ssrc: 2 ** 32 - 1 }), 'ok'],
    'ssrc 2^32': [withEncoding({ ssrc: 2 ** 32 }), refused],
    'ssrc as a string': [withEncoding({ ssrc: '1' }), refused],
    'the payload type of no codec': [withEncoding({ codecPayloadType: 1 }), refused],
    'a huge cname': [{ ...good, rtcp: { cname: 'c'.repeat(50_000) } }, refused],
    'the longest cname': [{ ...good, rtcp: { cname: 'c'.repeat(255) } }, 'ok'],
    'an empty cname': [{ ...good, rtcp: { cname: '' } }, 'ok'],
    'no rtcp': [{ ...good, rtcp: undefined }, 'ok'],
    nothing: [{}, refused],
    null: [null, refused],
    'a list': [[good], refused]
  }
  for (const [name, [parameters, outcome]] of Object.entries(cases)) t.equal(await produce(parameters), outcome, name)
  for (const kind of ['video', '', null, 1]) t.equal(await produce(good, kind), refused, `kind ${String(kind)}`)
  await attacker.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: good })
  await unharmed(t)
})

t.test('rejects two producers with the same identifiers on a transport', async (t) => {
  const { attacker, ids, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const transportId = ids.get('own.producerTransport')
  await attacker.ok('audio:closeProducer', { producerId: ids.get('own.producer') })
  await attacker.ok('audio:produce', { transportId, kind: 'audio', rtpParameters: opusParameters() })
  const produce = async (rtpParameters: unknown) => {
    const { ok, error } = await attacker.request('audio:produce', { transportId, kind: 'audio', rtpParameters })
    return ok ? 'ok' : error.code
  }
  t.equal(await produce(opusParameters()), 'VALIDATION_FAILED', 'mid and ssrc')
  t.equal(await produce(opusParameters(11_111_111, '1')), 'VALIDATION_FAILED', 'ssrc')
  t.equal(await produce(opusParameters(22, '0')), 'VALIDATION_FAILED', 'mid')
  t.equal(await produce(opusParameters(22, '1')), 'ok')
  t.equal(await produce(opusParameters(33, '2')), 'ok')
  t.equal(await produce(opusParameters(44, '3')), 'ok')
  t.equal(await produce(opusParameters(55, '4')), 'PRODUCER_LIMIT')
  await unharmed(t)
})

t.test('enforces limits on concurrent requests', async (t) => {
  const { server, attacker, ids, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  await attacker.ok('audio:closeProducer', { producerId: ids.get('own.producer') })
  const replies = await Promise.all(Array.from({ length: 12 }, (_, i) => attacker.request('audio:produce', {
    transportId: ids.get('own.producerTransport'), kind: 'audio', rtpParameters: opusParameters(100 + i, String(i))
  })))
  t.equal(replies.filter(({ ok }) => ok).length, 4)
  for (const { ok, error } of replies) if (!ok) t.equal(error.code, 'PRODUCER_LIMIT')
  t.equal(server.app.sfu.producersOf('r1').filter(({ userId }) => userId === 'attacker').length, 4)

  const { id: transportId } = await attacker.ok('transport:create', { type: 'producer' })
  const connects = await Promise.all(Array.from({ length: 5 }, () => attacker.request('transport:connect', { transportId, dtlsParameters })))
  t.equal(connects.filter(({ ok }) => ok).length, 1)
  for (const { ok, error } of connects) if (!ok) t.equal(error.code, 'TRANSPORT_ALREADY_CONNECTED')

  const created = await Promise.all(Array.from({ length: 30 }, (_, i) => attacker.ok('transport:create', { type: i % 2 ? 'producer' : 'consumer' })))
  const left = server.app.sfu.describe('r1')?.transports.filter(({ userId }) => userId === 'attacker') ?? []
  t.equal(left.length, 2, 'one transport of each type remains')
  t.ok(left.every(({ transportId }) => created.some(({ id }) => id === transportId)))
  await unharmed(t)
})

t.test('users cannot reach each other\'s transports, producers and consumers', async (t) => {
  const { attacker, ids, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const id = (name: string) => ids.get(name)
  for (const whose of ['victim', 'stranger']) {
    const cases: [type: string, data: object, code: string][] = [
      ['transport:connect', { transportId: id(`${whose}.consumerTransport`), dtlsParameters }, 'TRANSPORT_NOT_FOUND'],
      ['transport:restartIce', { transportId: id(`${whose}.producerTransport`) }, 'TRANSPORT_NOT_FOUND'],
      ['audio:produce', { transportId: id(`${whose}.producerTransport`), kind: 'audio', rtpParameters: opusParameters(5, '5') }, 'TRANSPORT_NOT_FOUND'],
      ['audio:closeProducer', { producerId: id(`${whose}.producer`) }, 'PRODUCER_NOT_FOUND'],
      ['audio:selfMute', { producerId: id(`${whose}.producer`) }, 'PRODUCER_NOT_FOUND'],
      ['audio:selfUnmute', { producerId: id(`${whose}.producer`) }, 'PRODUCER_NOT_FOUND'],
      ['audio:consume', { transportId: id(`${whose}.consumerTransport`), producerId: id('victim.producer'), rtpCapabilities }, 'TRANSPORT_NOT_FOUND'],
      ['consumer:resume', { consumerId: id(`${whose}.consumer`) }, 'CONSUMER_NOT_FOUND'],
      ['consumer:pause', { consumerId: id(`${whose}.consumer`) }, 'CONSUMER_NOT_FOUND']
    ]
    for (const [type, data, code] of cases) t.equal(await attacker.fails(type, data), code, `${type} of the ${whose}`)
  }
  t.equal(await attacker.fails('audio:consume', { transportId: id('own.consumerTransport'), producerId: id('stranger.producer'), rtpCapabilities }), 'PRODUCER_NOT_FOUND', 'a producer in another room cannot be consumed')
  for (const type of ['audio:closeProducer', 'audio:selfMute']) t.equal(await attacker.fails(type, { producerId: id('own.consumer') }), 'PRODUCER_NOT_FOUND', `${type} of a consumer`)
  t.equal(await attacker.fails('transport:connect', { roomId: 'r2', transportId: id('own.producerTransport'), dtlsParameters }), 'NOT_IN_ROOM')
  await unharmed(t)
})

t.test('rejects requests in the wrong order', async (t) => {
  const { attacker, victim, ids, unharmed } = await scene(t, { FEATURES: 'auth,media' })
  const id = (name: string) => ids.get(name)
  const [producerTransport, consumerTransport, producer, consumer] = ['producerTransport', 'consumerTransport', 'producer', 'consumer'].map((what) => id(`own.${what}`))

  t.equal(await attacker.fails('audio:produce', { transportId: consumerTransport, kind: 'audio', rtpParameters: opusParameters(6, '6') }), 'TRANSPORT_WRONG_TYPE')
  t.equal(await attacker.fails('audio:consume', { transportId: producerTransport, producerId: id('victim.producer'), rtpCapabilities }), 'TRANSPORT_WRONG_TYPE')

  await attacker.ok('transport:connect', { transportId: producerTransport, dtlsParameters })
  t.equal(await attacker.fails('transport:connect', { transportId: producerTransport, dtlsParameters }), 'TRANSPORT_ALREADY_CONNECTED')

  const opusless = { codecs: [{ ...rtpCapabilities.codecs[0], mimeType: 'audio/PCMU', clockRate: 8000, channels: 1 }] }
  t.equal(await attacker.fails('audio:consume', { transportId: consumerTransport, producerId: id('victim.producer'), rtpCapabilities: opusless }), 'CANNOT_CONSUME')
  const again = await attacker.ok('audio:consume', { transportId: consumerTransport, producerId: id('victim.producer'), rtpCapabilities })
  t.same(await attacker.event('consumer:closed'), { roomId: 'r1', consumerId: consumer }, 'the earlier consumer of the same producer is closed')
  t.equal(await attacker.fails('consumer:resume', { consumerId: consumer }), 'CONSUMER_NOT_FOUND')
  t.same(await attacker.ok('consumer:resume', { consumerId: again.id }), {})

  await attacker.ok('audio:selfMute', { producerId: producer })
  await attacker.ok('audio:selfMute', { producerId: producer })
  await victim.event('audio:producerPaused')
  await attacker.ok('audio:selfUnmute', { producerId: producer })
  await attacker.ok('audio:selfUnmute', { producerId: producer })
  await victim.event('audio:producerResumed')
  await attacker.ok('audio:closeProducer', { producerId: producer })
  t.equal(await attacker.fails('audio:closeProducer', { producerId: producer }), 'PRODUCER_NOT_FOUND')
  t.equal(await attacker.fails('audio:selfMute', { producerId: producer }), 'PRODUCER_NOT_FOUND')
  t.same(victim.events.filter(({ type }) => /audio:producer(Closed|Paused|Resumed)/.test(type)).map(({ type }) => type),
    ['audio:producerPaused', 'audio:producerResumed', 'audio:producerClosed'], 'each event is sent once')

  await attacker.ok('room:leave')
  t.equal(await attacker.fails('transport:restartIce', { transportId: producerTransport }), 'NOT_IN_ROOM')
  await attacker.ok('room:join', { roomId: 'r1' })
  t.equal(await attacker.fails('transport:restartIce', { transportId: producerTransport }), 'TRANSPORT_NOT_FOUND', 'leaving the room closes the transport')
  t.equal(await attacker.fails('consumer:resume', { consumerId: again.id }), 'CONSUMER_NOT_FOUND')
  await unharmed(t)
})

t.test('handles a room change during transport creation', async (t) => {
  const server = await build(t)
  const ada = await server.connect(1)
  for (let round = 0; round < 20; round++) {
    const [from, to] = [`from${round}`, `to${round}`]
    const replies = await Promise.all([
      ada.request('room:join', { roomId: from }),
      ada.request('transport:create', { type: 'producer' }),
      ada.request('room:join', { roomId: to }),
      ada.request('transport:create', { type: 'producer' })
    ])
    t.same([replies[0]?.ok, replies[2]?.ok, replies[3]?.ok], [true, true, true], 'the last transport is created')
    const { data } = replies[3]
    await ada.ok('transport:restartIce', { transportId: data.id })
    t.equal(server.app.sfu.describe(to)?.transports[0]?.transportId, data.id, 'the transport belongs to the new room')
    t.equal(server.app.sfu.describe(from), undefined, 'no media remains in the old room')
  }
})
