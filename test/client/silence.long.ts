import t from 'tap'
import { RoomClient } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { createRelay } from './relay.ts'

t.test('with the defaults, a client detects a dead network path within 35 s and rejoins', async (t) => {
  const server = await build(t)
  const relay = await createRelay(t, server.url)
  const clients = await Promise.all(Array.from({ length: 20 }, async (_, id) => {
    const room = new RoomClient({ url: relay.url, token: () => tokenFor(id), audio: false })
    t.teardown(() => room.close())
    await room.join('r1')
    return { room, rejoining: new Promise<number>((resolve) => room.on('state', (state) => { if (state === 'rejoining') resolve(performance.now()) })) }
  }))
  relay.freeze()
  const begin = performance.now()
  const noticed = await Promise.all(clients.map(async ({ room, rejoining }) => {
    const at = await rejoining
    await new Promise<void>((resolve) => room.on('state', (state) => { if (state === 'in') resolve() }))
    return Math.round(at - begin)
  }))
  t.comment(`noticed after ${Math.min(...noticed)} to ${Math.max(...noticed)} ms`)
  t.ok(noticed.every((ms) => ms < 35_000))
})
