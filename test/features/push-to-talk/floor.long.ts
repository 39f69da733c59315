import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { connectRadio } from '../../support/radio.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { playFloor } from './floor-model.ts'

const packet = Buffer.alloc(80, 0xf8)
const claims = { channelIds: [5] }
const env = { FEATURES: 'auth,push-to-talk' }

t.test('only one user talks at a time across two servers while one server is killed repeatedly', { timeout: 900_000 }, async (t) => {
  const REDIS_URL = await redisDatabase()
  const start = async (NODE_ID: string, PORT = '0') => {
    const server = startServer(t, { ...env, REDIS_URL, NODE_ID, PORT })
    return { child: server.child, exit: server.exit, url: await server.url }
  }
  const first = await start('a')
  let second = await start('b')
  const { port } = new URL(second.url)
  for (let round = 0; round < 4; round++) {
    const { talks } = await playFloor(t, [first.url, second.url], {
      steps: 600,
      async disturb (step) {
        if (step !== 300) return
        second.child.kill('SIGKILL')
        await second.exit
        second = await start('b', port)
      }
    })
    t.comment(`round ${round}: ${talks} talks`)
    t.ok(talks > 5, `round ${round}`)
  }
})

t.test('nobody talks for longer than 90 s, and the floor is free afterwards', { timeout: 300_000 }, async (t) => {
  const { url } = startServer(t, { ...env, PORT: '0' })
  const base = await url
  const [ada, bob] = [await connectRadio(t, base, 1, { claims }), await connectRadio(t, base, 2, { claims })]
  const begin = performance.now()
  ada.send(0, 1, 1, 5)
  await ada.next(6)
  const talking = setInterval(() => ada.send(0, 3, 1, 5, packet), 60)
  t.teardown(() => clearInterval(talking))
  await delay(1000)
  bob.send(0, 1, 2, 5)
  t.match(await bob.next(8), { 4: 'Busy' })
  await new Promise<unknown[]>((resolve, reject) => {
    const timer = setInterval(() => {
      const stop = bob.frames.find(([, type]) => type === 2)
      if (stop) resolve(stop)
      else if (performance.now() - begin > 96_000) reject(new Error('stuck'))
      else return
      clearInterval(timer)
    }, 20)
  })
  const seconds = (performance.now() - begin) / 1000
  t.comment(`the talk ended after ${seconds.toFixed(2)} s`)
  t.ok(seconds > 89.5 && seconds < 91)
  bob.send(0, 1, 2, 5)
  t.match(await bob.next(6), [0, 6])
})
