import t from 'tap'
import { onEveryStore } from '../../support/build.ts'
import type { TestServer } from '../../support/build.ts'
import { consume, produce, scene, seatsOf, seatEvents } from './scene.ts'

const silent = (server: TestServer, producerId: string) =>
  server.app.sfu.producersOf('r1').find((producer) => producer.producerId === producerId)?.isPaused

onEveryStore(t, 'a muted user is silent regardless of the client', async (t, env) => {
  const { server, owner, member, other, all } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  const producerId = await produce(member)
  const consumerId = await consume(other, producerId)
  t.same(await other.ok('consumer:resume', { consumerId }), {})

  t.same(await owner.ok('seat:mute', { userId: '3' }), { userId: 3 })
  for (const client of all) t.same(await client.event('seat:userMuted'), { roomId: 'r1', userId: 3, isMuted: true, selfMuted: false })
  t.same(await other.event('audio:producerPaused'), { roomId: 'r1', producerId, userId: 3, source: 'voice' })
  t.equal(silent(server, producerId), true)
  t.same(await other.ok('consumer:resume', { consumerId }), { deferred: true })

  await member.ok('audio:selfUnmute', { producerId })
  t.equal(silent(server, producerId), true, 'the host\'s mute continues after the self mute ends')
  await member.ok('audio:selfMute', { producerId })
  for (const client of all) t.same(await client.event('seat:userMuted'), { roomId: 'r1', userId: 3, isMuted: true, selfMuted: true })
  await member.ok('audio:selfUnmute', { producerId })
  for (const client of all) t.same(await client.event('seat:userMuted'), { roomId: 'r1', userId: 3, isMuted: true, selfMuted: false })
  t.equal(silent(server, producerId), true)

  t.same(await owner.ok('seat:unmute', { userId: 3 }), { userId: 3 })
  for (const client of all) t.same(await client.event('seat:userMuted'), { roomId: 'r1', userId: 3, isMuted: false, selfMuted: false })
  t.same(await other.event('audio:producerResumed'), { roomId: 'r1', producerId, userId: 3, source: 'voice' })
  t.equal(silent(server, producerId), false)
  t.same(await other.ok('consumer:resume', { consumerId }), {})
  t.equal(other.events.filter(({ type }) => type === 'audio:producerPaused').length, 1)
})

onEveryStore(t, 'a producer resumes once no reason for the pause remains', async (t, env) => {
  const { server, owner, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  const producerId = await produce(member)
  await member.ok('audio:selfMute', { producerId })
  await other.event('audio:producerPaused')
  await owner.ok('seat:mute', { userId: 3 })
  await owner.ok('seat:unmute', { userId: 3 })
  await other.event('seat:userMuted', ({ isMuted }) => isMuted === true)
  t.same(await other.event('seat:userMuted', ({ isMuted, selfMuted }) => isMuted === false && selfMuted === true), { roomId: 'r1', userId: 3, isMuted: false, selfMuted: true })
  t.equal(silent(server, producerId), true)
  t.match((await seatsOf(server)).seats, [{ isMuted: false, selfMuted: true }])
  await member.ok('audio:selfUnmute', { producerId })
  await other.event('audio:producerResumed')
  t.equal(silent(server, producerId), false)
})

onEveryStore(t, 'a new producer does not inherit a self mute', async (t, env) => {
  const { server, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  const first = await produce(member)
  await member.ok('audio:selfMute', { producerId: first })
  await other.event('seat:userMuted', ({ selfMuted }) => selfMuted === true)
  // Create a second producer, as clients do after a reconnect. The new producer starts unmuted.
  const second = await produce(member)
  t.equal(silent(server, second), false)
  t.match(await other.event('seat:userMuted'), { userId: 3, isMuted: false, selfMuted: false }, 'all members receive the change')
  t.match((await seatsOf(server)).seats, [{ selfMuted: false }])
})

onEveryStore(t, 'the server pauses a new producer of a muted user', async (t, env) => {
  const { server, admin, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await admin.ok('seat:mute', { userId: 3 })
  const producerId = await produce(member)
  t.same(await other.event('audio:newProducer'), { roomId: 'r1', producerId, userId: 3, source: 'voice', kind: 'audio' })
  t.same(await other.event('audio:producerPaused'), { roomId: 'r1', producerId, userId: 3, source: 'voice' }, 'the members know that the producer is paused')
  t.equal(silent(server, producerId), true)
  const consumerId = await consume(other, producerId)
  t.same(await other.ok('consumer:resume', { consumerId }), { deferred: true })
  t.match(await (await server.connect(9)).ok('room:join', { roomId: 'r1' }), { existingProducers: [{ producerId, isPaused: true }] })
  await admin.ok('seat:unmute', { userId: 3 })
  await other.event('audio:producerResumed')
})

onEveryStore(t, 'a mute survives leaving and retaking a seat', async (t, env) => {
  const { server, admin, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await admin.ok('seat:mute', { userId: 3 })
  await member.ok('seat:take', { seatIndex: 1 })
  await member.ok('seat:leave')
  await member.ok('seat:take', { seatIndex: 2 })
  await member.ok('room:leave')
  await member.ok('room:join', { roomId: 'r1' })
  await member.ok('seat:take', { seatIndex: 3 })
  await other.event('seat:updated', ({ seatIndex }) => seatIndex === 3)
  t.same(seatEvents(other).filter((text) => text.startsWith('updated')), ['updated 0 3 false', 'updated 1 3 true', 'updated 2 3 true', 'updated 3 3 true'])
  t.equal(silent(server, await produce(member)), true)
  await admin.ok('seat:unmute', { userId: 3 })
  await member.ok('seat:take', { seatIndex: 0 })
  t.match(await other.event('seat:updated', ({ seatIndex, isMuted }) => seatIndex === 0 && isMuted === false), { userId: 3 })
})

onEveryStore(t, 'assigning a seat and accepting an invite unmute the user', async (t, env) => {
  const { owner, member, other } = await scene(t, env)
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:mute', { userId: 3 })
  await owner.ok('seat:assign', { userId: 3, seatIndex: 1 })
  t.match(await other.event('seat:updated', ({ seatIndex }) => seatIndex === 1), { isMuted: false })
  await owner.ok('seat:mute', { userId: 3 })
  await owner.ok('seat:invite', { userId: 3, seatIndex: 2 })
  await member.ok('seat:invite:accept')
  t.match(await other.event('seat:updated', ({ seatIndex }) => seatIndex === 2), { isMuted: false })
})

onEveryStore(t, 'muting is idempotent and requires a seated user', async (t, env) => {
  const { owner, admin, member, other } = await scene(t, env)
  t.equal(await owner.fails('seat:mute', { userId: 3 }), 'NOT_SEATED')
  await member.ok('seat:take', { seatIndex: 0 })
  await owner.ok('seat:unmute', { userId: 3 })
  await owner.ok('seat:mute', { userId: 3 })
  await admin.ok('seat:mute', { userId: 3 })
  await other.event('seat:userMuted')
  await other.flush()
  t.same(seatEvents(other), ['updated 0 3 false', 'userMuted 3 true false'])
  await admin.ok('seat:take', { seatIndex: 1 })
  t.equal(await admin.fails('seat:mute', { userId: 2 }), 'CANNOT_TARGET_SELF')
  t.equal(await admin.fails('seat:unmute', { userId: '2' }), 'CANNOT_TARGET_SELF')
})
