import { inject, onScopeDispose, provide, reactive, ref, watch } from 'vue'
import type { InjectionKey } from 'vue'
import { RoomClient } from '@flylive/audio-client'
import type { JoinOptions, Profile, ReplyData, RequestData, RequestError, RequestType, UserId } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { nameOf } from './faces.ts'
import { giftOf } from './gifts.ts'
import { createTokenSource, serverUrl } from './identity.ts'
import type { Access, Identity } from './identity.ts'
import { useLevels } from './levels.ts'
import type { MicrophoneChoice } from './microphone.ts'
import { createMusic } from './music.ts'
import { wordsOf } from './refusals.ts'
import { useRoomView } from './room-view.ts'
import { createShows } from './shows.ts'
import { createTalk } from './talk.ts'
import { createVoice } from './voice.ts'

declare global {
  interface Window {
    /** The client of the current room, for use in the browser's console and in tests. */
    flylive?: RoomClient | undefined
  }
}

/** The input of the join form. */
export interface Entry {
  roomId: string
  options: JoinOptions
  identity: Identity
  access: Access
  choice: MicrophoneChoice
}

/** Maximum wait for the reply when the user leaves, in milliseconds. Without a network, no reply arrives. */
const longestLeaveMs = 2000
/**
 * Longest plausible time until a drain deadline, in milliseconds. A longer time means that this device's clock is
 * wrong.
 */
const longestDrainMs = 600_000

/** State shared by the components of the room page. */
export type Stage = ReturnType<typeof createStage>

const key: InjectionKey<Stage> = Symbol('stage')

export function useStage (): Stage {
  return inject(key) as Stage
}

/**
 * Joins a room for the lifetime of the calling component.
 *
 * @param left called once when the server removes or rejects the user
 */
export function enterStage (entry: Entry, left: (why: RequestError | undefined) => void): Stage {
  const stage = createStage(entry, left)
  provide(key, stage)
  return stage
}

function createStage ({ roomId, options, identity, access, choice }: Entry, left: (why: RequestError | undefined) => void) {
  const room = new RoomClient({ url: serverUrl(), token: createTokenSource(identity, access), audio: { play: true } })
  const { audio, connection } = room
  window.flylive = room
  const view = useRoomView(room)
  const notice = ref('')
  const talk = createTalk()
  const shows = createShows()
  const emojis = ref<readonly string[]>([])
  const totals = reactive({ all: 0, of: new Map<string, number>() })
  const reconnects = ref(0)
  let draining: string | undefined
  let sitting = false
  let naming = false
  let hidden = false
  /** True from the loss of the connection until the client has joined the room again. */
  let wasAway = false
  const say = (text: string) => { notice.value = text }
  const voice = createVoice(room, choice, say)
  const music = createMusic(room, say)
  const vLevel = useLevels(() => {
    const levels = new Map(audio?.levels())
    const self = view.value.participants.find(({ isSelf }) => isSelf)
    if (self) levels.set(String(self.userId), voice.level())
    return levels
  })

  const personOf = (userId: UserId) => view.value.participants.find((person) => String(person.userId) === String(userId))
  /** Users whom this user removed from the room. Their names appear in the list of bans. */
  const removed = new Map<string, Profile>()
  const nameFrom = (userId: UserId) => nameOf(personOf(userId)?.profile ?? removed.get(String(userId)))

  /** Runs an action in the room. If the action fails, shows the error to the user. */
  async function attempt<T> (what: () => Promise<T>): Promise<T | undefined> {
    say('')
    try {
      return await what()
    } catch (cause) {
      say(`${wordsOf(cause as RequestError)}.`)
      return undefined
    }
  }
  /** The requests that have no reply yet. A second press of a button does not send the same request again. */
  const pending = new Set<string>()
  /** Sends a request. If the request fails, shows the error to the user. */
  async function ask<T extends RequestType> (type: T, data: RequestData<T>): Promise<ReplyData<T> | undefined> {
    const same = JSON.stringify([type, data])
    // Users can send the same reaction several times in quick succession.
    if (pending.has(same) && type !== 'room:react') return undefined
    pending.add(same)
    try {
      return await attempt(() => connection.request(type, data))
    } finally {
      pending.delete(same)
    }
  }

  /** If seats are enabled and the microphone is open, takes a free seat. Closes the microphone if no seat is free. */
  async function findSeat (): Promise<void> {
    if (!voice.track.value || room.state !== 'in' || !room.seats.enabled) return
    let words = strings.seat.noneFree
    try {
      if (await room.seats.takeFree() !== undefined) return
    } catch (error) {
      words = strings.seat.none(wordsOf(error as RequestError))
    }
    // The connection was lost. After the reconnect, the `entered` event calls this function again.
    if (room.state !== 'in') return
    voice.drop()
    say(words)
  }

  /**
   * Loads participants until the names of the given users are known. In big rooms, the client knows only some
   * participants, but the page shows the names of all users who have raised a hand.
   */
  async function name (userIds: readonly UserId[]): Promise<void> {
    if (naming) return
    naming = true
    try {
      const unknown = () => userIds.some((userId) => !room.participants.some((person) => String(person.userId) === String(userId)))
      while (unknown() && room.participants.length < room.participantCount && await room.loadParticipants());
    } catch { /* Without a reply, the names stay unknown until the next update. */ } finally {
      naming = false
    }
  }
  watch(() => view.value.requests, (requests) => name(requests.map(({ userId }) => userId)))

  room.on('state', (state, why) => {
    if (state === 'out' && !hidden) left(why)
    if (state === 'rejoining') reconnects.value++
    if (state !== 'in') wasAway = true
  })
  room.on('entered', ({ chatHistory = [], giftTotals = [], reactions }) => {
    totals.of = new Map(giftTotals.map(({ recipientId, quantity }) => [String(recipientId), quantity]))
    totals.all = giftTotals.reduce((sum, { quantity }) => sum + quantity, 0)
    if (wasAway) talk.removeDeleted(chatHistory)
    wasAway = false
    chatHistory.forEach(talk.message)
    emojis.value = reactions?.emojis ?? []
    // The client has moved to another server, so the drain notice is obsolete.
    if (notice.value === draining) say('')
    findSeat()
  })
  connection.on('seat:cleared', ({ userId, reason }) => {
    if (!room.seats.isSelf(userId) || reason === 'moved') return
    // A user without a seat is not allowed to send audio.
    voice.drop()
    music.stop()
    if (reason !== 'left') say(strings.seat.gone)
  })
  connection.on('server:draining', ({ deadline }) => {
    const ms = deadline - Date.now()
    draining = strings.status.draining(ms > 0 && ms < longestDrainMs ? ms : undefined)
    say(draining)
  })
  connection.on('chat:message', talk.message)
  connection.on('chat:deleted', ({ id }) => talk.remove(id))
  connection.on('chat:mode', ({ slowModeSeconds }) => talk.event(strings.chat.slowMode(slowModeSeconds)))
  connection.on('recording:started', () => talk.event(strings.room.recordingStarted))
  connection.on('recording:stopped', () => talk.event(strings.room.recordingStopped))
  connection.on('room:owner', ({ ownerId }) => talk.event(strings.room.newHost(nameFrom(ownerId))))
  connection.on('gift:error', ({ reason }) => talk.event(strings.gifts.failed(reason)))
  connection.on('room:reaction', ({ userId, emoji }) => shows.react(emoji, 1, nameFrom(userId)))
  connection.on('room:reactions', ({ counts }) => {
    for (const [emoji, count] of Object.entries(counts)) shows.react(emoji, count)
  })
  room.gifts.on('received', ({ senderId, recipientId, giftId, quantity }) => {
    const { name, picture } = giftOf(giftId)
    const text = strings.gifts.given(nameFrom(senderId), nameFrom(recipientId), name, quantity)
    talk.event(text)
    shows.give(picture, text)
    totals.all += quantity
    totals.of.set(String(recipientId), (totals.of.get(String(recipientId)) ?? 0) + quantity)
  })
  audio?.on('refused', (error, source) => {
    if (source === 'music') {
      music.stop()
      return say(`${wordsOf(error as RequestError)}.`)
    }
    voice.drop()
    say((error as RequestError).code === 'TRACK_ENDED' ? strings.microphone.gone : `${error.message}. ${strings.microphone.listening}`)
  })

  const join = () => { room.join(roomId, options).catch(() => { /* The `left` callback receives the reason. */ }) }
  const hide = () => {
    hidden = true
    room.close()
  }
  /**
   * Rejoins the room if the browser restores the page from its cache, for example when the user comes back from another
   * site.
   */
  const restore = ({ persisted }: PageTransitionEvent) => {
    if (!persisted || !hidden) return
    hidden = false
    join()
  }
  addEventListener('pagehide', hide)
  addEventListener('pageshow', restore)
  onScopeDispose(() => {
    removeEventListener('pagehide', hide)
    removeEventListener('pageshow', restore)
    voice.close()
    music.stop()
    room.close()
    window.flylive = undefined
  })
  join()

  return {
    room,
    roomId,
    view,
    notice,
    talk,
    shows,
    emojis,
    totals,
    reconnects,
    voice,
    music,
    vLevel,
    personOf,
    nameFrom,
    ask,
    say,
    /** @param banSeconds how long the user cannot join again; 0 for no ban */
    kick (userId: UserId, banSeconds: number): Promise<ReplyData<'room:kick'> | undefined> {
      const profile = personOf(userId)?.profile
      if (profile) removed.set(String(userId), profile)
      return ask('room:kick', { userId, banSeconds })
    },
    /** Takes the given seat and opens the microphone. */
    async speakFrom (type: 'seat:take' | 'seat:invite:accept', seatIndex: number): Promise<void> {
      // Ignore a second press of the button while the first request is pending.
      if (sitting) return
      sitting = true
      try {
        const before = reconnects.value
        if (!await ask(type, { seatIndex }) || !await voice.open()) return
        // The user may have lost the seat while the browser was asking for permission.
        if (reconnects.value !== before) await findSeat()
      } finally {
        sitting = false
      }
    },
    /** Opens the microphone and, if seats are enabled, takes any free seat. */
    async speak (): Promise<void> {
      if (voice.opening.value) return
      say('')
      if (await voice.open()) await findSeat()
    },
    /** @param seatIndex default: any free seat */
    async invite (userId: UserId, seatIndex?: number): Promise<void> {
      const { free, list } = room.seats
      // If no seat is free, a locked empty seat will do, because accepting the invite unlocks the seat.
      const seat = seatIndex ?? (free[0] ?? list.find((one) => one.userId === undefined && one.invitedUserId === undefined))?.seatIndex
      if (seat === undefined) say(strings.person.noneFree)
      else await ask('seat:invite', { userId, seatIndex: seat })
    },
    give: (recipientId: UserId, giftId: number, quantity: number) => attempt(() => room.gifts.send({ giftId, recipientId, quantity })),
    /**
     * Leaves the room, which frees the seat immediately. Resolves after the server replies, or after
     * {@link longestLeaveMs}.
     */
    async leave (): Promise<void> {
      voice.drop()
      music.stop()
      const left = room.leave().catch(() => { /* If there is no connection, the user has already left. */ })
      await Promise.race([left, new Promise((resolve) => setTimeout(resolve, longestLeaveMs))])
    }
  }
}
