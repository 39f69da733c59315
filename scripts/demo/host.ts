import { setTimeout as delay } from 'node:timers/promises'
import type { EventData, UserId } from '../../client/index.ts'
import { between, oneOf } from './chance.ts'
import type { Talker } from './talker.ts'

/** Minimum time between two invites to the same user, in milliseconds; an invite expires after 30 s. */
const inviteMs = 35_000
/** Minimum time between two responses to visitors, in milliseconds. */
const betweenAnswersMs = 4000

const welcomes = [
  (name: string) => `Welcome, ${name}! Take a free seat to speak, or raise your hand and I'll invite you ✋`,
  (name: string) => `Hello ${name}, good to have you here 👋 There are still free seats.`,
  (name: string) => `Hi ${name}! Listen in, write, or come up and talk with us.`
]
const thanks = [(name: string) => `Thank you, ${name}! 🎁`, (name: string) => `Oh, for me? Thanks, ${name} ❤️`]
const greetings = [(name: string) => `Hi ${name} 👋`, (name: string) => `hey ${name}!`]

/** Greets visitors, invites them if they raise a hand, thanks them for gifts, and lets them finish speaking. */
export interface Host {
  /** Whether a visitor is speaking. */
  readonly visitorSpeaks: boolean
}

/** @param talkers the talkers of one room, the owner first */
export function createHost (talkers: readonly Talker[]): Host {
  const [owner] = talkers
  if (!owner) throw new Error('A room without talkers has no host')
  const { connection, gifts, seats } = owner.room
  const cast = new Map(talkers.map((talker) => [String(talker.person.userId), talker]))
  const isVisitor = (userId: UserId) => !cast.has(String(userId))
  const nameOf = (userId: UserId) => String(owner.room.participants.find((participant) => String(participant.userId) === String(userId))?.profile.name ?? 'stranger')
  const greeted = new Set<string>()
  const invitedAt = new Map<string, number>()
  let hands: readonly { userId: UserId }[] = []
  let speaking: readonly UserId[] = []
  let answeredAt = 0

  /** @returns whether enough time has passed since the last response to a visitor; if so, the time starts again */
  function mayAnswer (): boolean {
    if (Date.now() - answeredAt < betweenAnswersMs) return false
    answeredAt = Date.now()
    return true
  }

  async function write (talker: Talker, content: string): Promise<void> {
    await delay(between(1200, 3000))
    await talker.ask('chat:message', { content })
  }

  async function invite (userId: UserId): Promise<void> {
    const key = String(userId)
    if (Date.now() - (invitedAt.get(key) ?? 0) < inviteMs) return
    invitedAt.set(key, Date.now())
    await delay(between(1200, 2600))
    // Offer the last free seat first, because users without an invite usually take the first free seat.
    for (const { seatIndex } of seats.free.toReversed()) if (await owner?.ask('seat:invite', { userId, seatIndex })) return
    invitedAt.delete(key)
  }

  // Retry invites, because a seat may have become free.
  setInterval(() => { for (const { userId } of hands) invite(userId) }, 1000)

  connection.on('seat:requests', ({ requests }: EventData<'seat:requests'>) => { hands = requests })
  owner.room.on('entered', ({ seatRequests = [] }) => { hands = seatRequests })
  connection.on('speaker:active', ({ activeSpeakers }) => { speaking = activeSpeakers })
  connection.on('seat:updated', ({ userId }) => { invitedAt.delete(String(userId)) })
  connection.on('room:userJoined', ({ user: { userId, name } }) => {
    if (!isVisitor(userId) || greeted.has(String(userId))) return
    greeted.add(String(userId))
    write(owner, oneOf(welcomes)(String(name)))
  })
  connection.on('chat:message', ({ userId, userName, content }) => {
    if (!isVisitor(userId) || !mayAnswer()) return
    const talker = oneOf(talkers)
    if (/\b(?:hi|hello|hey|hallo|good (?:evening|morning))\b/i.test(content)) write(talker, oneOf(greetings)(userName))
    else delay(between(600, 1800)).then(() => talker.ask('room:react', { emoji: oneOf(talker.person.likes) }))
  })
  gifts.on('received', ({ senderId, recipientId }) => {
    const talker = cast.get(String(recipientId))
    if (talker && isVisitor(senderId) && mayAnswer()) write(talker, oneOf(thanks)(nameOf(senderId)))
  })
  return {
    get visitorSpeaks () {
      return speaking.some(isVisitor)
    }
  }
}
