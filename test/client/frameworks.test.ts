import { Window } from 'happy-dom'
import t from 'tap'
import type { Test } from 'tap'
import { RoomClient } from '../../client/index.ts'
import type { RoomOptions } from '../../client/index.ts'
import { build, tokenFor } from '../support/build.ts'
import { emptyArray } from '../support/empty-array.ts'
import { until } from '../support/retry.ts'

// The client must work with React's store subscriptions and behind Vue's proxies.

// Create a DOM before the imports, because React and Vue look for a DOM when they are imported.
const window = new Window()
Object.assign(globalThis, { window, document: window.document, Element: window.Element, SVGElement: window.SVGElement, HTMLElement: window.HTMLElement, IS_REACT_ACT_ENVIRONMENT: false })
const { createElement, useSyncExternalStore } = await import('react')
const { createRoot } = await import('react-dom/client')
const { createApp, defineComponent, h, onScopeDispose, ref, shallowRef } = await import('vue')

const server = await build(t)
let nextRoom = 0

function createRoom (t: Test, id: number, options: Partial<RoomOptions> = {}): RoomClient {
  const room = new RoomClient({ url: server.url, token: () => tokenFor(id), audio: false, ...options })
  t.teardown(() => room.close())
  return room
}

/** Adds an element to the page. */
function createElementOf (t: Test): HTMLElement {
  const element = document.body.appendChild(document.createElement('div'))
  t.teardown(() => element.remove())
  return element
}

t.test('React: useSyncExternalStore renders the participants, once per change', async (t) => {
  const room = createRoom(t, 1)
  const element = createElementOf(t)
  let renders = 0
  function People () {
    const participants = useSyncExternalStore((changed) => room.on('participants', changed), () => room.participants)
    renders++
    return createElement('ul', null, participants.map(({ userId, profile }) => createElement('li', { key: userId }, String(profile.name))))
  }
  const root = createRoot(element)
  const errors: unknown[] = []
  const report = console.error
  console.error = (...args: unknown[]) => { errors.push(args[0]) }
  t.teardown(() => {
    root.unmount()
    console.error = report
  })
  root.render(createElement(People))
  const roomId = `r${++nextRoom}`
  await room.join(roomId)
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId })
  await until(() => element.textContent === 'User 1User 2')
  await bob.ok('seat:take', { seatIndex: 0 })
  await until(() => room.seats.of(2)?.seatIndex === 0)
  await bob.close()
  await until(() => element.textContent === 'User 1')
  t.same(errors, [], 'React reports no unstable snapshot')
  t.ok(renders < 15, `${renders} renders`)
})

t.test('Vue: a client in a ref works, and a component renders the participants', async (t) => {
  const element = createElementOf(t)
  const room = ref(createRoom(t, 1))
  const People = defineComponent(() => {
    const participants = shallowRef(room.value.participants)
    onScopeDispose(room.value.on('participants', () => { participants.value = room.value.participants }))
    return () => h('ul', participants.value.map(({ profile }) => h('li', String(profile.name))))
  })
  const app = createApp(People)
  app.mount(element)
  const roomId = `r${++nextRoom}`
  await room.value.join(roomId)
  const bob = await server.connect(2)
  await bob.ok('room:join', { roomId })
  await until(() => element.textContent === 'User 1User 2')
  t.equal(await room.value.seats.takeFree(), 0)
  await until(() => room.value.seats.own?.seatIndex === 0)
  t.equal(room.value.connection.state, 'open')
  t.ok(room.value.connection.features.has('seats'))
  await room.value.leave()
  t.equal(room.value.state, 'out')
  await until(() => element.textContent === '')
  app.unmount()
})

t.test('every object of the client works through a proxy', async (t) => {
  const wrap = <T extends object> (object: T): T => new Proxy(object, {
    get: (target, key, receiver) => {
      const value: unknown = Reflect.get(target, key, receiver)
      return typeof value === 'object' && value !== null && !Object.isFrozen(value) ? wrap(value) : value
    }
  })
  const room = wrap(createRoom(t, 1, { audio: {} }))
  const events: string[] = []
  room.on('participants', () => events.push('participants'))
  room.seats.on('change', () => events.push('seats'))
  room.audio?.on('producers', () => events.push('producers'))
  room.audio?.on('muted', () => events.push('muted'))
  await room.join(`r${++nextRoom}`)
  t.equal(await room.seats.takeFree(), 0)
  room.audio?.mute()
  t.match(room, { state: 'in', participantCount: 1, role: 'owner', seats: { count: 15, enabled: true }, audio: { muted: true, publishing: false, producers: emptyArray, heard: emptyArray } })
  t.same([...room.audio?.levels() ?? []], [])
  t.equal(await room.audio?.quality(), undefined)
  await room.gifts.send({ giftId: 1, recipientId: 2 })
  t.match(await room.connection.request('user:getRoom', { userId: 1 }), { roomId: room.roomId })
  for (const event of ['participants', 'seats', 'producers', 'muted']) t.ok(events.includes(event), event)
  const { join, leave } = room
  await leave()
  await join(`r${++nextRoom}`)
  t.equal(room.state, 'in', 'methods work when detached from their object, too')
})

t.test('lists are frozen, and are replaced only when their contents change', async (t) => {
  const room = createRoom(t, 1, { audio: {} })
  const { seats, audio } = room
  const lists = () => [room.participants, seats.list, seats.free, seats.requests, audio?.producers, audio?.heard]
  const roomId = `r${++nextRoom}`
  const areSame = (one: unknown[], other: unknown[]) => one.map((list, i) => list === other[i])
  t.same(areSame(lists(), lists()), lists().map(() => true))
  await room.join(roomId)
  t.same(areSame(lists(), lists()), lists().map(() => true))
  t.ok(lists().every((list) => Object.isFrozen(list)))

  const bob = await server.connect(2)
  const [ada, empty] = [room.participants[0], seats.list[0]]
  const before = lists()
  await bob.ok('room:join', { roomId })
  await until(() => room.participants.length === 2)
  t.same(areSame(lists(), before), [false, true, true, true, true, true])
  t.equal(room.participants[0], ada, 'an unchanged participant is the same object')

  await bob.ok('seat:take', { seatIndex: 1 })
  await until(() => seats.of(2) !== undefined)
  t.same(areSame(lists(), before), [false, false, false, true, true, true])
  t.equal(seats.list[0], empty, 'an unchanged seat is the same object')
  t.equal(room.participants[1]?.seat, seats.list[1])
  t.equal(seats.of('2'), seats.list[1])
  t.ok(Object.isFrozen(room.participants[1]) && Object.isFrozen(seats.list[1]))

  await bob.ok('seat:leave', {})
  await bob.ok('seat:request', {})
  await until(() => seats.requests.length === 1)
  t.equal(seats.requests, seats.requests)
  t.ok(Object.isFrozen(seats.requests))
})
