import t from 'tap'
import { onEveryStore } from '../../support/build.ts'
import { scene } from './scene.ts'

onEveryStore(t, 'an invite expires after 30 s, and everyone is notified promptly', async (t, env) => {
  const { owner, member, all } = await scene(t, env)
  const before = Date.now()
  await owner.ok('seat:invite', { userId: 3, seatIndex: 1 })
  const ends = all.map((client) => new Promise<number>((resolve) => client.ws.on('message', (raw) => {
    const { type, data } = JSON.parse(String(raw)) as { type?: string, data?: { isPending?: boolean } }
    if (type === 'seat:invite:pending' && data?.isPending === false) resolve(Date.now() - before)
  })))
  for (const end of await Promise.all(ends)) t.ok(end >= 30_000 && end < 32_000, `${end} ms`)
  t.equal(await member.fails('seat:invite:accept'), 'INVITE_NOT_FOUND')
})
