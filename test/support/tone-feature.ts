import type { Test } from 'tap'
import { featureFolder } from './features.ts'
import { tonePackets } from './mix.ts'

const source = (tones: string) => `import { createSocket } from 'node:dgram'
import fp from 'fastify-plugin'
import { z } from 'zod'
const tones = ${tones}
let ssrc = 70_000
export const requests = { 'tone:send': { request: z.object({ hz: z.number() }), reply: z.object({}) } }
/** Sends tones to rooms. */
export default fp(async function tone (app) {
  const timers = new Set()
  app.addHook('onClose', async () => { for (const timer of timers) clearInterval(timer) })
  app.messages.on('tone:send', requests['tone:send'], async ({ hz }, { room }) => {
    const packets = tones[hz].map((text) => Buffer.from(text, 'base64'))
    const own = ssrc++
    const injection = await app.sfu.inject(room.roomId, { userId: 'tone ' + hz, userKey: 'tone ' + hz, nodeId: app.nodeId, kind: 'service' }, { ssrc: own })
    const socket = createSocket('udp4').on('error', () => {})
    const start = performance.now()
    let sent = 0
    timers.add(setInterval(() => {
      for (; sent * 20 < performance.now() - start; sent++) {
        const header = Buffer.alloc(12)
        header[0] = 0x80
        header[1] = 100
        header.writeUInt16BE(sent & 0xffff, 2)
        header.writeUInt32BE(sent * 960 >>> 0, 4)
        header.writeUInt32BE(own, 8)
        socket.send(Buffer.concat([header, packets[sent % packets.length]]), injection.port, injection.ip)
      }
    }, 5))
    return {}
  })
}, { name: 'tone', dependencies: ['rooms', 'sfu'] })
`

/**
 * Creates a folder for FEATURES_PATH with the `tone` feature, whose message `tone:send {hz}` sends a tone to the
 * sender's room. Use this function for servers in other processes.
 *
 * @param hz the frequencies, multiples of 50 Hz
 * @returns the path of the folder
 */
export function toneFeature (t: Test, ...hz: number[]): string {
  const folder = featureFolder(t)
  const tones = Object.fromEntries(hz.map((frequency) => [frequency, tonePackets(frequency, 0.3).map((packet) => Buffer.from(packet).toString('base64'))]))
  folder.write('tone', { 'index.ts': source(JSON.stringify(tones)) })
  return folder.path
}
