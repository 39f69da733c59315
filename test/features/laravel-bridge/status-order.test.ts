import t from 'tap'
import type { Test } from 'tap'
import { BackendFailed } from '../../../features/laravel-bridge/errors.ts'
import { rejection } from '../../../features/laravel-bridge/rejections.ts'
import { createRememberedStatus, createRoomStatus } from '../../../features/laravel-bridge/status.ts'
import type { StatusOptions } from '../../../features/laravel-bridge/status.ts'
import { unavailable } from '../../../plugins/errors/codes.ts'
import { createMemoryKeyValue } from '../../../plugins/kv/memory.ts'
import { until } from '../../support/retry.ts'

type Room = Awaited<ReturnType<StatusOptions['store']['getRoom']>>

/** One call to the backend: the status, and functions that end the call. */
interface StatusCall { status: { is_live: boolean, participant_count: number }, answer: () => void, fail: (error: unknown) => void }

/** Creates the sync of a room whose calls, members and time the test controls. */
function setUp (t: Test) {
  const clock = { at: 1_000_000 }
  const calls: StatusCall[] = []
  let isHeld = false
  const scheduled: number[] = []
  const room = { roomId: '7', ownerId: 1, createdAt: 1, participantCount: 0 }
  const state = { room: room as object | undefined }
  const kv = createMemoryKeyValue(t.testdir({}))
  t.teardown(() => kv.close())
  const status = createRoomStatus({
    clock: { now: () => clock.at },
    jobs: { on () {}, async schedule (_name, _key, at) { scheduled.push(at) } },
    kv,
    log: { debug () {}, info () {}, warn () {} } as unknown as StatusOptions['log'],
    store: { getRoom: async () => state.room as Room, listRooms: async () => [] },
    client: {
      async call ({ body }) {
        const { promise, resolve, reject } = Promise.withResolvers<unknown>()
        calls.push({ status: body as StatusCall['status'], answer: () => resolve({}), fail: reject })
        if (!isHeld) resolve({})
        return await promise as never
      }
    },
    remembered: createRememberedStatus()
  })
  return {
    clock,
    calls,
    scheduled,
    enter (participantCount: number) { state.room = { ...room, participantCount } },
    close () { state.room = undefined },
    /** Starts a sync, 2 s after the previous one, and waits for its call to the backend. */
    async begin (): Promise<{ call: StatusCall, done: Promise<void> }> {
      clock.at += 2000
      const count = calls.length
      isHeld = true
      const done = status.sync('7')
      await until(() => calls.length > count)
      isHeld = false
      return { call: calls[count] as StatusCall, done }
    },
    /** Runs a sync; returns the status that the backend receives, or undefined if the sync makes no call. */
    async sync (): Promise<StatusCall['status'] | undefined> {
      clock.at += 2000
      const count = calls.length
      await status.sync('7')
      return calls[count]?.status
    },
    now: async () => await status.sync('7')
  }
}

t.test('sends the count again if two calls for a room overlapped', async (t) => {
  const { begin, enter, scheduled, sync } = setUp(t)
  enter(1)
  await sync()
  await sync()
  enter(2)
  const slow = await begin()
  enter(3)
  const fast = await begin()
  fast.call.answer()
  await fast.done
  scheduled.length = 0
  slow.call.answer()
  await slow.done
  t.equal(scheduled.length, 1, 'the backend may have received the older count last')
  t.match(await sync(), { is_live: true, participant_count: 3 })
  t.equal(await sync(), undefined)
})

t.test('reports the end of a room even if the backend did not confirm its start', async (t) => {
  const { begin, close, enter, sync } = setUp(t)
  enter(1)
  const start = await begin()
  start.call.fail(new BackendFailed('connection reset'))
  await t.rejects(start.done)
  close()
  t.match(await sync(), { is_live: false })
  t.equal(await sync(), undefined)
  enter(1)
  t.match(await sync(), { is_live: true, participant_count: 0, started_at: String }, 'a new room starts')
})

t.test("retries a rejected report of a room's end even if the backend did not confirm the start", async (t) => {
  const { begin, close, enter, sync } = setUp(t)
  enter(1)
  const start = await begin()
  start.call.fail(new BackendFailed('timeout'))
  await t.rejects(start.done)
  close()
  const end = await begin()
  end.call.fail(rejection(401))
  await end.done
  t.match(await sync(), { is_live: false, participant_count: 0, ended_at: String })
  t.equal(await sync(), undefined)
})

t.test('repeats the start of a room until the backend confirms it', async (t) => {
  const { begin, enter, sync } = setUp(t)
  enter(1)
  for (const error of [unavailable('gone'), new BackendFailed('timeout')]) {
    const start = await begin()
    t.match(start.call.status, { is_live: true, participant_count: 0, started_at: String })
    start.call.fail(error)
    await t.rejects(start.done)
  }
  t.match(await sync(), { is_live: true, participant_count: 0, started_at: String })
  t.match(await sync(), { is_live: true, participant_count: 1 })
})

t.test('forgets a room whose start the backend has rejected', async (t) => {
  const { begin, close, enter, sync } = setUp(t)
  enter(1)
  const start = await begin()
  start.call.fail(rejection(422))
  await start.done
  close()
  t.equal(await sync(), undefined)
})

t.test('sends at most one status per second even if the backend rejects them', async (t) => {
  const { begin, calls, clock, enter, now, scheduled, sync } = setUp(t)
  enter(1)
  await sync()
  await sync()
  enter(2)
  const { call, done } = await begin()
  call.fail(rejection(422))
  await done
  enter(3)
  const [count, at] = [calls.length, clock.at]
  scheduled.length = 0
  clock.at += 300
  await now()
  t.equal(calls.length, count)
  t.ok((scheduled[0] as number) >= at + 1000)
  t.match(await sync(), { participant_count: 3 })
})
