import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { RoomClient } from '../../../client/index.ts'
import { adminKey, tokenFor } from '../../support/build.ts'
import { createRandom } from '../../support/random.ts'
import { until } from '../../support/retry.ts'
import { followSound } from '../../support/sound.ts'
import type { Sound } from '../../support/sound.ts'
import { createTone } from '../../support/wrtc.ts'
import { startThree } from './three-servers.ts'

const roomId = 'r1'
const backoff = { firstMs: 100, longestMs: 500 }
/** A user hears a speaker if sound from the speaker has arrived within this time, in milliseconds. */
const heardMs = 200
/** Time limit for all users to hear the right audio after a change, in milliseconds. */
const limitMs = 3000
/** Time limit for all users to hear the speakers of a killed server again, in milliseconds. */
const deadLimitMs = 12_000

interface User {
  id: number
  room: RoomClient
  sound: Sound
  tone: MediaStreamTrack
  /** The server that the load balancer sends the user's next connection to. */
  next: number
  isIn: boolean
  isSpeaking: boolean
  isMuted: boolean
}

export interface ModelResult {
  /**
   * Number of occurrences per kind of change, and the longest time until all users heard the right audio, in
   * milliseconds.
   */
  changes: Map<string, { count: number, slowestMs: number }>
  violations: string[]
}

/**
 * Users randomly join, leave, speak, stop, mute and move between three servers. Servers are drained and killed, and
 * links between them are cut. After each change, every user must hear exactly the other users who are speaking.
 */
export async function runModel (t: Test, { seconds, users: size, seed, inNamespaces }: { seconds: number, users: number, seed: number, inNamespaces: boolean }): Promise<ModelResult> {
  const { network, servers, restart, hostOf } = await startThree(t, { inNamespaces, env: { JOINS_PER_MINUTE: '10000', SEAT_COMMANDS_PER_MINUTE: '10000', SEAT_GRACE_SECONDS: '60', MAX_CONNECTIONS_PER_USER: '100' } })
  const random = createRandom(seed)
  const alive = new Set([0, 1, 2])

  /**
   * Starts the load balancer for one user.
   *
   * @returns its URL
   */
  async function balance (user: Pick<User, 'next'>): Promise<string> {
    const balancer = createServer((near) => {
      const to = alive.has(user.next) ? user.next : [...alive][0] as number
      const { hostname, port } = new URL(hostOf(to))
      const far = connect(Number(port), hostname)
      for (const [socket, other] of [[near, far], [far, near]] as const) {
        socket.on('error', () => { /* The close event follows. */ })
        socket.once('close', () => other.destroy())
      }
      near.pipe(far).pipe(near)
    }).listen(0, '127.0.0.1')
    await once(balancer, 'listening')
    t.teardown(() => { balancer.close() })
    return `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`
  }

  async function createUser (id: number): Promise<User> {
    const place = { next: id % 3 }
    const url = await balance(place)
    const room = new RoomClient({ url, token: () => tokenFor(id), audio: { handlerName: 'Chrome111', receive: 'voices' }, backoff })
    t.teardown(() => room.close())
    const user: User = Object.assign(place, { id, room, sound: followSound(t, room), tone: createTone(t), isIn: false, isSpeaking: false, isMuted: false })
    return user
  }
  const users = await Promise.all(Array.from({ length: size }, (_, i) => createUser(i + 1)))

  const isHeard = (user: User) => user.isIn && user.isSpeaking && !user.isMuted
  /** @returns which user hears the wrong audio; undefined if all users hear the right audio */
  function mistake (isExempt: (listener: User, speaker: User) => boolean = () => false): string | undefined {
    for (const listener of users) {
      if (!listener.isIn) continue
      for (const speaker of users) {
        if (speaker === listener || isExempt(listener, speaker)) continue
        const hears = listener.sound.hears(speaker.id, heardMs)
        if (hears !== isHeard(speaker)) return `${listener.id} ${hears ? 'hears' : 'does not hear'} ${speaker.id}`
      }
    }
  }
  /** Like {@link mistake}, but compares the clients' views of the room. */
  function disagreement (): string | undefined {
    const views = users.filter(({ isIn }) => isIn).map(({ room }) => JSON.stringify({
      members: room.participants.map(({ userId }) => Number(userId)).toSorted((a, b) => a - b),
      seats: room.seats.list.map(({ userId, isMuted }) => [userId, isMuted])
    }))
    return new Set(views).size > 1 ? views.join(' | ') : undefined
  }
  const changes: ModelResult['changes'] = new Map()
  const violations: string[] = []
  async function agree (kind: string, limit: number, check: () => string | undefined) {
    const at = performance.now()
    // Ignore audio that arrived before the change.
    await delay(heardMs)
    const last = await until(() => check() === undefined, limit - heardMs).then(() => undefined, () => check())
    const slowestMs = Math.round(performance.now() - at)
    const known = changes.get(kind) ?? { count: 0, slowestMs: 0 }
    changes.set(kind, { count: known.count + 1, slowestMs: Math.max(known.slowestMs, slowestMs) })
    if (last === undefined) return
    violations.push(`${kind}: after ${slowestMs} ms, ${last}`)
    // Wait for a consistent state before the next change.
    await until(() => check() === undefined, 30_000).catch(() => { violations.push(`${kind}: never: ${check()}`) })
  }
  const pick = (condition: (user: User) => boolean) => {
    // Skip clients that are reconnecting, because their requests fail.
    const found = users.filter((user) => condition(user) && (!user.isIn || (user.room.state === 'in' && user.room.connection.state === 'open')))
    return found[random(found.length)]
  }
  const state = (i: number, body: object) => fetch(`${hostOf(i)}/admin/nodes/node-${i}`, { method: 'POST', headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' }, body: JSON.stringify(body) })
  /** @returns the number of the server that each user is connected to */
  async function placesOf (): Promise<Map<User, number>> {
    return new Map(await Promise.all(users.map(async (user): Promise<[User, number]> => {
      const response = await fetch(`${hostOf(0)}/admin/users/${user.id}`, { headers: { authorization: `Bearer ${adminKey}` } })
      const { sockets } = await response.json() as { sockets: { node: string, connectedAt: number }[] }
      // The list may still contain a session that has just ended.
      const [newest] = sockets.toSorted((a, b) => b.connectedAt - a.connectedAt)
      return [user, Number(/^node-(\d)/.exec(newest?.node ?? '')?.[1])]
    })))
  }

  const actions: Record<string, () => Promise<boolean>> = {
    async join () {
      const user = pick(({ isIn }) => !isIn)
      if (!user) return false
      user.next = random(3)
      user.isIn = true
      await user.room.join(roomId)
      return true
    },
    async leave () {
      // The first user stays to keep the room open.
      const user = pick(({ isIn, id }) => isIn && id > 1)
      if (!user) return false
      await user.room.leave()
      Object.assign(user, { isIn: false, isSpeaking: false })
      user.room.audio?.unpublish()
      return true
    },
    async speak () {
      const user = pick(({ isIn, isSpeaking }) => isIn && !isSpeaking)
      if (!user) return false
      await user.room.seats.takeFree()
      user.isSpeaking = true
      await user.room.audio?.publish(user.tone)
      return true
    },
    async stop () {
      const user = pick(isHeard)
      if (!user) return false
      user.room.audio?.unpublish()
      user.isSpeaking = false
      return true
    },
    async mute () {
      const user = pick(({ isIn }) => isIn)
      if (!user) return false
      user.isMuted = !user.isMuted
      if (user.isMuted) user.room.audio?.mute()
      else user.room.audio?.unmute()
      return true
    },
    async move () {
      const user = pick(({ isIn }) => isIn)
      if (!user) return false
      const entered = Promise.withResolvers<void>()
      const stop = user.room.on('entered', () => entered.resolve())
      const isMoving = user.room.connection.goTo(hostOf(random(3)))
      if (isMoving) await entered.promise
      stop()
      return isMoving
    },
    async drain () {
      const i = random(3)
      await state(i, { state: 'drain', deadlineSeconds: 2 })
      await until(async () => ![...(await placesOf()).values()].includes(i), 10_000)
      await state(i, { state: 'ready' })
      return true
    },
    async kill () {
      const i = 1 + random(2)
      alive.delete(i)
      const dead = [...await placesOf()].filter(([, place]) => place === i).map(([user]) => user)
      servers[i]?.kill()
      // Voices on other servers continue. Speakers on the killed server are heard again once they have moved to another
      // server.
      await agree('others during kill', limitMs, () => mistake((listener, speaker) => dead.includes(listener) || dead.includes(speaker)))
      await agree('listeners of the killed server', limitMs, () => mistake((_, speaker) => dead.includes(speaker)))
      await restart(i)
      alive.add(i)
      return true
    },
    async cut () {
      const [hostA, hostB] = [network?.hosts[0], network?.hosts[1 + random(2)]]
      if (!network || !hostA || !hostB) return false
      const far = network.hosts.indexOf(hostB)
      const places = await placesOf()
      const isCut = (listener: User, speaker: User) => [places.get(listener), places.get(speaker)].every((place) => place === 0 || place === far)
      network.link(hostA, hostB, false)
      const end = performance.now() + 3000 + random(12_000)
      await delay(2000)
      while (performance.now() < end) {
        await agree('others during cut', limitMs, () => mistake(isCut))
        await delay(500)
      }
      network.link(hostA, hostB, true)
      return true
    }
  }
  // Changes by individual users are more frequent than drains, kills and link failures.
  const kinds = Object.keys(actions).flatMap((kind) => Array.from({ length: ['drain', 'kill', 'cut'].includes(kind) ? 1 : 8 }, () => kind))

  await users[0]?.room.join(roomId)
  if (users[0]) users[0].isIn = true
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    const kind = kinds[random(kinds.length)] as string
    const done = await actions[kind]?.().catch((error: unknown) => {
      violations.push(`${kind}: ${String(error)}`)
      return true
    })
    if (done !== true) continue
    await agree(kind, kind === 'kill' ? deadLimitMs : limitMs, mistake)
  }
  await agree('views in the end', 5000, () => disagreement() ?? mistake())
  return { changes, violations }
}
