import { setTimeout } from 'node:timers/promises'
import type { Test } from 'tap'
import { returnMs } from '../../../plugins/store/types.ts'
import { adminKey, build, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { Reply, TestClient } from '../../support/client.ts'
import { startServer } from '../../support/process.ts'
import type { ServerProcess } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'

// Users of one room send random commands to two servers, which are killed and restarted. Roles change only between
// rounds, so that the model can predict the result of each command. A concurrent command takes effect at some time
// between its request and its reply, so the model accepts every result that is possible in that time.

export interface ModelOptions {
  users: number
  rounds: number
  /** Actions per user per round. */
  actions: number
  /** A server is killed every `killEvery` rounds. */
  killEvery: number
  /** True if the second server runs in this process: the server then needs much less CPU time, but cannot be killed. */
  oneProcess?: boolean
}

/**
 * A command. If the server did not reject the command, the command took effect between `sent` and `done` (epoch
 * milliseconds). The order of two commands with the same time is unknown.
 */
interface Operation { sent: number, done: number, code: string, value: string | number }

/** A user's view of the room, from the join reply and events. */
interface View { ownerId: unknown, title: unknown, topic: unknown, isLocked: unknown, slowModeSeconds: unknown, admins: Set<string> }

interface Player {
  id: number
  client: TestClient | undefined
  node: number
  view: View | undefined
  applied: number
  /** True if the user is in the room, or may be in the room because a join or leave received no reply. */
  mayBeMember: boolean
  /**
   * Time until which the user can return to a locked room after the connection broke. The user can return even after a
   * later leave, because servers take several seconds to remove the members of a killed server.
   */
  mayReturnUntil: number
}

const roomId = 'model'
const banSeconds = 3600
const slowSeconds = 1
/** Maximum time until the members of a killed server have been removed, in milliseconds. */
const removalMs = 30_000
/** Delay between attempts to connect to a server that is restarting, in milliseconds. */
const retryMs = 50
/** Tolerance in milliseconds, because times are rounded to whole milliseconds. */
const roundingMs = 2

function randomFrom (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6D2B79F5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * True if one of the `begun` operations was certainly in effect from `sent` to `done`: the operation succeeded before
 * `sent`, and no `ended` operation can have undone it by `done`.
 */
function isInEffect (begun: readonly Operation[], ended: readonly Operation[], sent: number, done: number): boolean {
  return begun.some((on) => on.code === 'ok' && on.done < sent && !ended.some((off) => off.code !== 'rejected' && off.done >= on.sent && off.sent <= done))
}

const mayHaveBegun = (begun: readonly Operation[], done: number) => begun.some((on) => on.code !== 'rejected' && on.sent <= done)

export async function moderationModel (t: Test, { users, rounds, actions, killEvery, oneProcess = false }: ModelOptions): Promise<void> {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  const random = randomFrom(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const env = {
    REDIS_URL: await redisDatabase(),
    FEATURES: 'auth,seats,chat,moderation',
    OWNER_GRACE_SECONDS: '3600',
    RATE_LIMIT_MESSAGES_PER_MINUTE: '10000'
  }
  const start = () => startServer(t, env)
  const nodes: ServerProcess[] = oneProcess ? [start()] : [start(), start()]
  const urls = await Promise.all(nodes.map(({ url }) => url))
  if (oneProcess) urls.push((await build(t, { env })).url)
  const players: Player[] = Array.from({ length: users }, (_, i) => ({ id: i + 1, client: undefined, node: i % 2, view: undefined, applied: 0, mayBeMember: false, mayReturnUntil: 0 }))
  const problems: string[] = []
  const counts: Record<string, number> = {}
  const problem = (text: string) => { problems.push(text) }

  // All operations so far.
  const bans = new Map<number, Operation[]>(players.map(({ id }) => [id, []]))
  const unbans = new Map<number, Operation[]>(players.map(({ id }) => [id, []]))
  const kicks = new Map<number, Operation[]>(players.map(({ id }) => [id, []]))
  const locks: Operation[] = []
  const unlocks: Operation[] = []
  const modes: Operation[] = [{ sent: 0, done: 0, code: 'ok', value: 0 }]
  const deletions: Operation[] = []
  const messages: { id: string, by: number }[] = []
  const said = new Map<number, Operation[]>(players.map(({ id }) => [id, []]))
  let owner = 1
  const admins = new Set<number>()
  const isHost = (id: number) => id === owner || admins.has(id)

  async function open (player: Player): Promise<TestClient> {
    for (;;) {
      if (player.client?.ws.readyState === 1) return player.client
      player.view = undefined
      // A user whose connection broke can return to a locked room for some time, unless the user was kicked.
      const code = await player.client?.closed.then(({ code }) => code, () => 1006)
      if (player.mayBeMember && code !== 4403) player.mayReturnUntil = Date.now() + returnMs + removalMs
      player.mayBeMember = false
      player.node = random() < 0.5 ? 0 : 1
      const client = await connect(t, urls[player.node] ?? '', { token: tokenFor(player.id) }).catch(() => undefined)
      if (client) {
        player.client = client
        player.applied = 0
        return client
      }
      await setTimeout(retryMs)
    }
  }

  /**
   * Sends a request.
   *
   * @returns the operation. The `code` of the operation is `lost` if no reply arrived or the reply was UNAVAILABLE,
   *   because the command may have taken effect
   */
  async function send (player: Player, type: string, data: object, value: string | number, log?: Operation[]): Promise<Operation & { reply?: Reply }> {
    const client = await open(player)
    const operation: Operation & { reply?: Reply } = { sent: Date.now(), done: Infinity, code: 'pending', value }
    log?.push(operation)
    counts[type] = (counts[type] ?? 0) + 1
    const reply = await client.request(type, { ...data }).catch(() => undefined)
    operation.done = Date.now()
    operation.code = reply === undefined ? 'lost' : reply.ok ? 'ok' : 'rejected'
    if (reply) operation.reply = reply
    if (reply?.ok === false && reply.error.code === 'UNAVAILABLE') operation.code = 'lost'
    return operation
  }

  function apply (player: Player): void {
    const { client, view } = player
    if (!client || !view) return
    for (; player.applied < client.events.length; player.applied++) {
      const { type, data } = client.events[player.applied] as TestClient['events'][number]
      if (type === 'room:owner') {
        if (String(view.ownerId) !== String(data.previousOwnerId)) problem(`user ${player.id}: the owner was ${view.ownerId}, not ${data.previousOwnerId}`)
        view.ownerId = data.ownerId
        view.admins.delete(String(data.ownerId))
      }
      if (type === 'room:role') view.admins[data.role === 'admin' ? 'add' : 'delete'](String(data.userId))
      if (type === 'room:updated') Object.assign(view, { title: data.title, topic: data.topic, isLocked: data.isLocked })
      if (type === 'chat:mode') view.slowModeSeconds = data.slowModeSeconds
    }
  }

  function checkHistory (what: string, sent: number, history: unknown): void {
    for (const { id } of history as { id: string }[]) if (deletions.some((one) => one.value === id && one.code === 'ok' && one.done < sent)) problem(`${what} has the deleted message ${id}`)
  }

  async function join (player: Player): Promise<void> {
    const { id } = player
    const from = (await open(player)).events.length
    const { mayReturnUntil, mayBeMember } = player
    const { sent, done, reply } = await send(player, 'room:join', { roomId }, 0)
    player.mayBeMember ||= reply === undefined || reply.ok || reply.error.code === 'UNAVAILABLE'
    if (!reply) return
    const banned = isInEffect(bans.get(id) ?? [], unbans.get(id) ?? [], sent, done)
    const locked = isInEffect(locks, unlocks, sent, done)
    if (reply.ok) {
      if (banned) problem(`the banned user ${id} has joined`)
      if (locked && !isHost(id) && sent > mayReturnUntil && !mayBeMember) problem(`the new user ${id} has joined the locked room`)
      const { data } = reply
      player.view = { ownerId: data.ownerId, title: data.title, topic: data.topic, isLocked: data.isLocked, slowModeSeconds: data.slowModeSeconds, admins: new Set((data.admins as unknown as unknown[]).map(String)) }
      player.applied = Math.max(from, player.applied)
      if (String(data.ownerId) !== String(owner)) problem(`user ${id} sees the owner ${data.ownerId} instead of ${owner}`)
      checkHistory(`the join of user ${id}`, sent, data.chatHistory)
      return
    }
    const { code } = reply.error
    counts[code] = (counts[code] ?? 0) + 1
    if (code === 'BANNED' && !mayHaveBegun(bans.get(id) ?? [], done)) problem(`user ${id} was never banned`)
    else if (code === 'ROOM_LOCKED' && (isHost(id) || !mayHaveBegun(locks, done))) problem(`user ${id} must be admitted`)
    else if (!['BANNED', 'ROOM_LOCKED', 'UNAVAILABLE'].includes(code)) problem(`user ${id}: the join failed with ${code}`)
  }

  /**
   * Sends a moderation command, and records a problem if the result does not match `allowed`.
   *
   * @param others additional permitted error codes
   */
  async function command (player: Player, type: string, data: object, value: string | number, log: Operation[] | undefined, allowed: boolean, others: readonly string[] = []): Promise<void> {
    const operation = await send(player, type, data, value, log)
    const { reply } = operation
    if (!reply) return
    if (reply.ok && !allowed) problem(`user ${player.id} (${player.id === owner ? 'owner' : admins.has(player.id) ? 'admin' : 'member'}) was allowed ${type} ${JSON.stringify(data)}`)
    // Another user's command may have removed the sender from the room.
    const codes = [...allowed ? [] : ['FORBIDDEN'], ...others, 'NOT_IN_ROOM', 'UNAVAILABLE']
    if (!reply.ok && !codes.includes(reply.error.code)) problem(`user ${player.id}: ${type} ${JSON.stringify(data)} failed with ${reply.error.code}`)
  }

  async function chat (player: Player): Promise<void> {
    const mine = said.get(player.id) as Operation[]
    const { sent, done, code, reply } = await send(player, 'chat:message', { content: `from ${player.id}` }, 0)
    if (code === 'lost') mine.push({ sent, done, code, value: 0 })
    if (!reply) return
    if (reply.ok) messages.push({ id: String(reply.data.id), by: player.id })
    const last = mine.at(-1)
    const constant = (since: number) => !modes.some((mode) => mode.code !== 'rejected' && mode.done >= since && mode.sent <= done)
    // `current` returns the last known slow mode. `overlapping` tells whether concurrent commands make this value
    // uncertain.
    const current = (since: number) => Number(modes.filter((mode) => mode.code === 'ok' && mode.done < since).sort((a, b) => a.done - b.done).at(-1)?.value ?? 0)
    const overlapping = (since: number) => modes.filter((mode) => mode.code !== 'rejected' && mode.done < since).length > 1 &&
      modes.some((one) => modes.some((other) => one !== other && one.done < since && other.done < since && one.sent <= other.done && other.sent <= one.done))
    // A command without a reply may have taken effect at any time, even after the connection broke.
    const uncertain = (since: number) => modes.some((mode) => mode.code === 'lost' && mode.sent <= since && !modes.some((later) => later.code === 'ok' && later.sent > mode.done && later.done < since))
    const known = (since: number) => constant(since) && !overlapping(since) && !uncertain(since)
    if (reply.ok && last && last.code === 'ok' && !isHost(player.id) && known(last.sent)) {
      const ms = current(last.sent) * 1000
      if (done - last.sent < ms - roundingMs) problem(`user ${player.id} sent two messages within ${done - last.sent} ms, with a slow mode of ${ms} ms`)
    }
    if (!reply.ok && reply.error.code === 'RATE_LIMITED') {
      counts['slow mode'] = (counts['slow mode'] ?? 0) + 1
      if (isHost(player.id)) problem(`the host ${player.id} was limited`)
      const since = last?.sent ?? sent
      if (last && last.code === 'ok' && known(since) && sent - last.done > current(since) * 1000 + roundingMs) problem(`user ${player.id} was limited ${sent - last.done} ms after a message`)
    } else if (!reply.ok && !['NOT_IN_ROOM', 'UNAVAILABLE'].includes(reply.error.code)) problem(`user ${player.id}: chat:message failed with ${reply.error.code}`)
    if (reply.ok) mine.push({ sent, done, code: 'ok', value: 0 })
  }

  async function act (player: Player): Promise<void> {
    const { id } = player
    await open(player)
    if (!player.view) return await join(player)
    const host = isHost(id)
    const target = pick(players).id
    const may = host && (id === owner || target !== owner)
    const self = target === id ? ['CANNOT_TARGET_SELF'] : []
    const dice = random()
    if (dice < 0.08) {
      if ((await send(player, 'room:leave', {}, 0)).code === 'ok') {
        player.view = undefined
        player.mayBeMember = false
      }
    } else if (dice < 0.14) {
      player.client?.ws.terminate()
      await player.client?.closed.catch(() => {})
    } else if (dice < 0.4) await chat(player)
    else if (dice < 0.46) await command(player, 'room:kick', { userId: target }, 0, kicks.get(target), may && target !== id, self)
    else if (dice < 0.56) await command(player, 'room:kick', { userId: target, banSeconds }, 0, bans.get(target), may && target !== id, self)
    else if (dice < 0.66) await command(player, 'room:unban', { userId: target }, 0, unbans.get(target), host)
    else if (dice < 0.7) await command(player, 'room:lock', {}, 0, locks, host)
    else if (dice < 0.78) await command(player, 'room:unlock', {}, 0, unlocks, host)
    else if (dice < 0.84) {
      const seconds = random() < 0.6 ? slowSeconds : 0
      await command(player, 'chat:slowMode', { seconds }, seconds, modes, host)
    } else if (dice < 0.9) {
      const message = pick(messages)
      if (!message) return
      await command(player, 'chat:delete', { id: message.id }, message.id, deletions, host && (id === owner || message.by !== owner), ['MESSAGE_NOT_FOUND'])
    } else if (dice < 0.93) await command(player, 'room:update', { title: `Title ${Math.floor(random() * 1000)}` }, 0, undefined, host)
    else if (dice < 0.95) await command(player, 'room:muteAll', {}, 0, undefined, host)
    else if (dice < 0.97 && id !== owner) await command(player, pick(['room:end', 'room:transfer', 'room:setRole']), { userId: target, role: 'admin' }, 0, undefined, false)
    else {
      const { sent, reply } = await send(player, 'chat:history', {}, 0)
      if (reply?.ok) checkHistory(`the history for user ${id}`, sent, reply.data.messages)
    }
    // If the user was removed from the room, the server has closed the user's connection.
    if (player.client?.ws.readyState !== 1) player.view = undefined
    apply(player)
  }

  async function page<T> (path: string): Promise<T> {
    const response = await fetch(`${urls[0]}${path}`, { headers: { authorization: `Bearer ${adminKey}` } })
    return await response.json() as T
  }

  /**
   * Sends a command as the owner. Repeats the command until the outcome is known, because a server
   * may be restarting.
   *
   * @returns whether the command has taken effect
   */
  async function certainly (host: Player, type: string, data: object): Promise<boolean> {
    for (let tries = 0, wasLost = false; tries < 200; tries++) {
      const { code, reply } = await send(host, type, data, 0)
      if (code === 'ok') return true
      const error = reply?.ok === false ? reply.error.code : ''
      // If an earlier attempt has transferred the room, the previous owner can no longer transfer the room.
      if (wasLost && error === 'FORBIDDEN') return true
      if (code !== 'lost' && error !== 'NOT_IN_ROOM') {
        problem(`${type} ${JSON.stringify(data)} by the owner failed with ${error}`)
        return false
      }
      // The connection of the target user may have broken.
      if (error === 'NOT_IN_ROOM' && tries > 20) return false
      wasLost ||= code === 'lost'
      host.view = undefined
      await join(host)
    }
    return false
  }

  /** Changes the roles while no other commands are in flight. The owner can always join. */
  async function changeRoles (): Promise<void> {
    const host = players[owner - 1] as Player
    for (let tries = 0; !host.view && tries < 200; tries++) await join(host)
    const others = players.filter(({ id, view, client }) => id !== owner && view && client?.ws.readyState === 1)
    const target = pick(others)
    if (!target) return
    if (random() < 0.3) {
      if (!await certainly(host, 'room:transfer', { userId: target.id })) return
      owner = target.id
      admins.delete(target.id)
      return
    }
    const role = admins.has(target.id) || admins.size >= 4 ? 'member' : 'admin'
    if (!await certainly(host, 'room:setRole', { userId: target.id, role })) return
    admins[role === 'admin' ? 'add' : 'delete'](target.id)
  }

  /**
   * Checks that all clients have the same view of the room. Call this function only after all commands have been
   * answered.
   */
  async function check (round: number): Promise<void> {
    for (const player of players) {
      if (player.client && player.client.ws.readyState !== 1) player.view = undefined
    }
    const failed = await until(async () => {
      const room = await page<{ ownerId: unknown, title: unknown, locked: unknown, roles: { userId: unknown, role: string }[], participants: { userId: number }[] }>(`/admin/rooms/${roomId}`)
      const wrong: string[] = []
      const named = room.roles.filter(({ role }) => role === 'admin').map(({ userId }) => String(userId)).sort().join()
      if (String(room.ownerId) !== String(owner)) wrong.push(`the owner is ${room.ownerId} instead of ${owner}`)
      if (named !== [...admins].map(String).sort().join()) wrong.push(`the admins are ${named}`)
      const slow = new Set<unknown>()
      for (const player of players) {
        apply(player)
        const { id, view } = player
        if (!view || player.client?.ws.readyState !== 1) continue
        slow.add(view.slowModeSeconds)
        if (String(view.ownerId) !== String(owner)) wrong.push(`user ${id} sees the owner ${view.ownerId}`)
        if ([...view.admins].sort().join() !== named) wrong.push(`user ${id} sees the admins ${[...view.admins]}`)
        if (view.title !== room.title || view.isLocked !== room.locked) wrong.push(`user ${id} sees ${view.title} ${view.isLocked} instead of ${room.title} ${room.locked}`)
      }
      if (slow.size > 1) wrong.push(`the users see different slow modes: ${[...slow]}`)
      const now = Date.now()
      for (const { userId } of room.participants) if (isInEffect(bans.get(userId) ?? [], unbans.get(userId) ?? [], now, now)) wrong.push(`the banned user ${userId} is in the room`)
      if (wrong.length > 0) throw new Error(wrong.join('; '))
      return 'none'
    }, 30_000).catch((error: unknown) => (error as Error).message)
    if (failed !== 'none') problem(`after round ${round}: ${failed}`)
  }

  await join(players[0] as Player)
  for (let round = 0; round < rounds && problems.length === 0; round++) {
    await changeRoles()
    const kill = round % killEvery === killEvery - 1
    const playing = players.map(async (player) => { for (let i = 0; i < actions && problems.length === 0; i++) await act(player) })
    if (kill) {
      const index = Math.floor(random() * nodes.length)
      nodes[index]?.child.kill('SIGKILL')
      await nodes[index]?.exit
      nodes[index] = start()
      urls[index] = await nodes[index]?.url ?? ''
      counts.kills = (counts.kills ?? 0) + 1
    }
    await Promise.all(playing)
    await check(round)
  }

  const listed: number[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const found: { bans: { userId: number }[], nextCursor: string | null } = await page(`/admin/rooms/${roomId}/bans?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`)
    listed.push(...found.bans.map(({ userId }) => userId))
    cursor = found.nextCursor
  }
  const now = Date.now()
  const certain = players.filter(({ id }) => isInEffect(bans.get(id) ?? [], unbans.get(id) ?? [], now, now)).map(({ id }) => id)
  for (const id of certain) if (!listed.includes(id)) problem(`the ban of ${id} is not listed`)
  for (const id of listed) if (!mayHaveBegun(bans.get(id) ?? [], now)) problem(`${id} is listed, but was never banned`)
  t.same(problems.slice(0, 20), [], `SEED=${seed}: no rule was broken`)
  t.comment(`SEED=${seed}: ${JSON.stringify(Object.fromEntries(Object.entries(counts).sort()))}`)
}
