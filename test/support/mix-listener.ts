import { Device } from 'mediasoup-client'
import type { types } from 'mediasoup-client'
import type { Test } from 'tap'
import type { TestClient } from './client.ts'
import './wrtc.ts'

// A listener in Node that receives the mix over WebRTC.

export interface MixListener {
  readonly consumerId: string
  stats (): Promise<{ packetsReceived: number, packetsLost: number, totalAudioEnergy: number, concealedSamples: number, totalSamplesReceived: number }>
}

/** @param room the join reply */
export async function listenToMix (t: Test, client: TestClient, room: Record<string, unknown>): Promise<MixListener> {
  const device = new Device({ handlerName: 'Chrome111' })
  await device.load({ routerRtpCapabilities: room.rtpCapabilities as types.RtpCapabilities })
  const transport = device.createRecvTransport(await client.ok('transport:create', { type: 'consumer' }) as unknown as types.TransportOptions)
  t.teardown(() => transport.close())
  transport.on('connect', ({ dtlsParameters }, done, failed) => {
    client.ok('transport:connect', { transportId: transport.id, dtlsParameters }).then(() => done(), failed)
  })
  const options = await client.ok('audio:consume', { transportId: transport.id, producerId: 'mix', rtpCapabilities: device.recvRtpCapabilities, paused: false })
  const consumer = await transport.consume(options as unknown as types.ConsumerOptions)
  return {
    consumerId: consumer.id,
    async stats () {
      const reports = [...(await transport.getStats() as Map<string, { type: string }>).values()]
      const inbound = reports.find(({ type }) => type === 'inbound-rtp') as unknown as Awaited<ReturnType<MixListener['stats']>>
      const { packetsReceived, packetsLost, totalAudioEnergy, concealedSamples, totalSamplesReceived } = inbound
      return { packetsReceived, packetsLost, totalAudioEnergy, concealedSamples, totalSamplesReceived }
    }
  }
}
