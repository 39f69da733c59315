import type { Test } from 'tap'
import { build, shortTimings } from '../../support/build.ts'
import { redisCommand } from '../../support/redis.ts'
import type { TestRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { rtpReceiver, sendSilence } from '../../support/rtp-packets.ts'

/** Time limit for a failover, in milliseconds. A Sentinel that was paused for 2 s does nothing for 30 s (TILT). */
const failoverMs = 90_000

/**
 * Kills the Redis primary that two servers use. Checks that rooms, gifts and the audio between the servers keep working
 * with the replica.
 *
 * @param redis environment variables that select the Redis servers
 */
export async function followFailover (t: Test, redis: Record<string, string>, primary: TestRedis): Promise<void> {
  const env = { FEATURES: 'auth,seats,chat,media,gifts', ...redis }
  const [server, second] = [await build(t, { timings: shortTimings, env }), await build(t, { timings: shortTimings, env })]
  const [ada, bob] = [await server.connect(1), await second.connect(2)]
  for (const client of [ada, bob]) await until(async () => (await client.request('room:join', { roomId: 'r1' })).ok)
  await ada.ok('seat:take', { seatIndex: 0 })
  const gifts = [await ada.ok('gift:send', { giftId: 7, recipientId: 2 })]
  const speak = async (ssrc: number) => {
    const injection = await server.app.sfu.inject('r1', { userId: 1, userKey: '1', nodeId: server.app.nodeId, kind: 'service' }, { ssrc })
    sendSilence(t, ssrc, injection)
    return injection.producerId
  }
  const receiver = await rtpReceiver(t)
  const tap = await second.app.sfu.tap('r1', { port: receiver.port, follows: () => true })
  const flows = async (producerId: string) => {
    await until(() => tap.voices.some((voice) => voice.producerId === producerId), 30_000)
    const heard = () => receiver.packets.filter(({ ssrc }) => ssrc === tap.voices.find((voice) => voice.producerId === producerId)?.ssrc)
    const before = heard().length
    await until(() => heard().length > before + 10)
    return heard()
  }
  const voice = await speak(101)
  await flows(voice)

  // Writes that the replica has not received are lost with the primary.
  await until(async () => await redisCommand(primary.port, 'WAIT', '1', '1000') === 1)
  await primary.kill()
  await until(async () => (await ada.request('seat:take', { seatIndex: 1 })).error === undefined, failoverMs)
  for (const { url } of [server, second]) await until(async () => (await fetch(`${url}/readyz`)).status === 200, 30_000)
  t.match(await bob.event('seat:updated', ({ seatIndex }) => seatIndex === 1), { userId: 1 })
  await bob.ok('chat:message', { content: 'still here' })
  t.match(await ada.event('chat:message'), { content: 'still here' })
  gifts.push(await bob.ok('gift:send', { giftId: 8, recipientId: 1 }))
  for (const { transactionId } of gifts) await until(async () => JSON.stringify((await server.admin('GET', '/admin/gifts/ledger')).body).includes(String(transactionId)), 30_000)
  t.match((await server.admin('GET', '/admin/gifts')).body, { queued: 0, deadLetters: 0, ledger: 2 }, 'each gift is in the ledger once')

  const packets = await flows(voice)
  t.equal(packets.findIndex(({ sequenceNumber }, i) => i > 0 && sequenceNumber !== (((packets[i - 1]?.sequenceNumber ?? 0) + 1) & 0xffff)), -1, 'the audio was not interrupted')
  await flows(await speak(102))
}
