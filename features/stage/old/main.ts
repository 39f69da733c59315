import { RoomClient } from '../../../client/index.ts'
import type { ReplyData, RequestData, RequestError, RequestType, UserId } from '../../../client/index.ts'
import { openMicrophone } from './microphone.ts'
import { nameOf } from './names.ts'
import { createPeople } from './people.ts'
import { playAll } from './playback.ts'
import { createSeating, numberOf } from './seats.ts'
import { createTalk } from './talk.ts'

declare global {
  interface Window {
    /** The room one is in, for the console and for tests. */
    flylive?: RoomClient | undefined
  }
}

function element<T extends HTMLElement = HTMLElement> (id: string): T {
  return document.getElementById(id) as T
}

const lobby = element('lobby')
const form = element<HTMLFormElement>('enter')
const nameField = element<HTMLInputElement>('name')
const roomField = element<HTMLInputElement>('room')
const originalField = element<HTMLInputElement>('original')
const ended = element('ended')
const stage = element('stage')
const status = element('status')
const notice = element('notice')
const microphoneButton = element<HTMLButtonElement>('microphone')
const invitation = element('invitation')
const messageField = element<HTMLInputElement>('message')
const talk = createTalk(element('log'))
const showPeople = createPeople(element('people'), {
  mute: ({ userId }) => ask('seat:mute', { userId }),
  unmute: ({ userId }) => ask('seat:unmute', { userId }),
  remove: ({ userId }) => ask('seat:remove', { userId }),
  invite: ({ userId }) => invite(userId),
  give: ({ userId }) => attempt((room) => room.gifts.send({ giftId: 1, recipientId: userId }))
})
const showSeats = createSeating(element('seats'), {
  take: (seatIndex) => speakFrom('seat:take', seatIndex),
  getUp: () => ask('seat:leave', {}),
  lock: (seatIndex) => ask('seat:lock', { seatIndex }),
  unlock: (seatIndex) => ask('seat:unlock', { seatIndex })
})

// A link can name the room and the guest: #room=r1&name=Ada, or ?room=r1.
const given = new URLSearchParams(location.hash.slice(1))
for (const [key, value] of new URLSearchParams(location.search)) if (!given.has(key)) given.set(key, value)
nameField.value = given.get('name') ?? localStorage.getItem('name') ?? ''
roomField.value = given.get('room') ?? 'lobby'
;(nameField.value === '' ? nameField : roomField).focus()

let track: MediaStreamTrack | undefined
/** For which room the browser is asked for the microphone now. */
let asking: RoomClient | undefined
/** What is wrong with the connection, while it is being made again. */
let trouble: string | undefined

/** A try-out room need not have the most seats there can be. */
const seatCount = 8

/** Refusals in which the server counts seats from zero. */
const refusals: Record<string, string> = {
  SEAT_TAKEN: 'Somebody else was quicker',
  SEAT_LOCKED: 'That seat is locked',
  INVITE_PENDING: 'Somebody is already invited to that seat'
}

form.addEventListener('submit', (event) => {
  event.preventDefault()
  enter(nameField.value.trim(), roomField.value)
})
element('leave').addEventListener('click', () => showLobby())
microphoneButton.addEventListener('click', () => {
  const audio = window.flylive?.audio
  if (!audio) return
  if (!audio.sending) speak()
  else if (audio.muted) audio.unmute()
  else audio.mute()
})
element('accept').addEventListener('click', () => answer('seat:invite:accept'))
element('decline').addEventListener('click', () => answer('seat:invite:decline'))
element('write').addEventListener('submit', async (event) => {
  event.preventDefault()
  const content = messageField.value
  if (content.trim() !== '' && await ask('chat:message', { content })) messageField.value = ''
})
addEventListener('pagehide', () => window.flylive?.close())

function enter (name: string, roomId: string): void {
  localStorage.setItem('name', name)
  history.replaceState(null, '', `#${new URLSearchParams({ room: roomId })}`)
  document.title = `${roomId} · Stage`
  element('title').textContent = roomId
  say(notice, '')
  lobby.hidden = true
  stage.hidden = false

  const room = new RoomClient({ url: location.href, token: createTokenSource(name) })
  window.flylive = room
  const show = () => { if (window.flylive === room) showRoom(room) }
  room.on('state', (state, why) => {
    if (state === 'out' && window.flylive === room) showLobby(why)
    else show()
  })
  room.on('participants', show)
  room.connection.on('features', show)
  room.connection.on('state', (_state, why) => {
    trouble = why?.message
    show()
  })
  room.on('entered', ({ chatHistory = [] }) => {
    chatHistory.forEach(talk.message)
    findSeat(room)
  })
  room.audio?.on('state', show)
  room.audio?.on('refused', (error) => {
    dropMicrophone()
    say(notice, `The server does not take your microphone: ${error.message}. You are listening only.`)
    show()
  })
  room.connection.on('seat:cleared', ({ userId, reason }) => {
    if (!room.seats.isSelf(userId) || reason === 'moved') return
    // Nobody should be recorded who is not heard.
    dropMicrophone()
    if (reason !== 'left') say(notice, 'You were taken off your seat. You are listening only.')
    show()
  })
  room.connection.on('chat:message', talk.message)
  room.gifts.on('received', ({ senderId, recipientId, quantity }) => {
    const what = quantity === 1 ? 'a gift' : `${quantity} gifts`
    talk.event(`${nameFrom(room, senderId)} gave ${nameFrom(room, recipientId)} ${what}`)
  })
  room.connection.on('gift:error', ({ reason }) => talk.event(`Your gift did not go through: ${reason}`))
  if (room.audio) playAll(room.audio)
  talk.clear()
  room.join(roomId, { seatCount }).catch(() => { /* showLobby() says why. */ })
  show()
  speak()
}

/** @returns what a client asks for tokens: a guest's, the same until it is refused */
function createTokenSource (name: string): (refusal?: RequestError) => Promise<string> {
  let token: string | undefined
  return async (refusal) => {
    if (token !== undefined && !refusal) return token
    const response = await fetch('stage/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name })
    })
    if (!response.ok) throw new Error(`The server gives no session: ${response.status}`)
    token = (await response.json() as { token: string }).token
    return token
  }
}

/** Asks the server for something. What it refuses is shown. */
function ask<T extends RequestType> (type: T, data: RequestData<T>): Promise<ReplyData<T> | undefined> {
  return attempt((room) => room.connection.request(type, data))
}

/** Does something in the room. Why it fails is shown. */
async function attempt<T> (what: (room: RoomClient) => Promise<T>): Promise<T | undefined> {
  const room = window.flylive
  say(notice, '')
  try {
    return room && await what(room)
  } catch (cause) {
    const { code, message } = cause as RequestError
    if (window.flylive === room) say(notice, `${refusals[code] ?? message}.`)
    return undefined
  }
}

function invite (userId: UserId): void {
  const seats = window.flylive?.seats
  // Who accepts an invite gets in even where it is locked.
  const seat = seats?.free[0] ?? seats?.list.find((seat) => seat.userId === undefined && seat.invitedUserId === undefined)
  if (seat) ask('seat:invite', { userId, seatIndex: seat.seatIndex })
  else say(notice, 'No seat is free.')
}

function answer (type: 'seat:invite:accept' | 'seat:invite:decline'): void {
  const seatIndex = window.flylive?.seats.invitation?.seatIndex
  if (seatIndex === undefined) return
  if (type === 'seat:invite:accept') speakFrom(type, seatIndex)
  else ask(type, { seatIndex })
}

/** Gets a certain seat, and then the microphone. */
async function speakFrom (type: 'seat:take' | 'seat:invite:accept', seatIndex: number): Promise<void> {
  if (await ask(type, { seatIndex }) && !track) await useMicrophone()
}

/** Gets the microphone, and then any seat where one is needed. */
async function speak (): Promise<void> {
  const room = window.flylive
  if (!track) await useMicrophone()
  if (room && window.flylive === room) await findSeat(room)
}

/** Sees to it that whoever has a microphone has a seat, where there are seats, or lets go of the microphone. */
async function findSeat (room: RoomClient): Promise<void> {
  if (!track || room.state !== 'in' || !room.seats.enabled) return
  let words = 'No seat is free. You are listening only.'
  try {
    if (await room.seats.takeFree() !== undefined) return
  } catch (error) {
    words = `You get no seat: ${(error as RequestError).message}. You are listening only.`
  }
  // After a loss it will be looked for again.
  if (window.flylive !== room || room.state !== 'in') return
  dropMicrophone()
  say(notice, words)
  showRoom(room)
}

async function useMicrophone (): Promise<void> {
  const room = window.flylive
  if (!room || asking === room) return
  asking = room
  microphoneButton.disabled = true
  try {
    const opened = await openMicrophone(originalField.checked)
    if (window.flylive !== room) return opened.stop()
    track = opened
    say(notice, '')
    opened.addEventListener('ended', () => {
      if (track !== opened) return
      dropMicrophone()
      say(notice, 'The microphone is gone. You are listening only.')
      showRoom(room)
    })
    room.audio?.publish(opened).catch(() => { /* 'refused' tells. */ })
  } catch (error) {
    if (window.flylive === room) say(notice, `${(error as Error).message} Until then you are listening only.`)
  } finally {
    if (asking === room) asking = undefined
    if (window.flylive === room) {
      microphoneButton.disabled = false
      showRoom(room)
    }
  }
}

function dropMicrophone (): void {
  if (!track) return
  window.flylive?.audio?.unpublish()
  track.stop()
  track = undefined
}

function showLobby (why?: RequestError): void {
  const room = window.flylive
  dropMicrophone()
  window.flylive = undefined
  room?.close()
  document.title = 'Stage'
  stage.hidden = true
  lobby.hidden = false
  say(ended, why ? `${why.message}.` : '')
  form.querySelector('button')?.focus()
}

function showRoom (room: RoomClient): void {
  const { audio, connection, participantCount, role, seats } = room
  const { features } = connection
  const host = seats.enabled && role !== undefined && role !== 'member'
  element('seating').hidden = !seats.enabled
  element('talk').hidden = !features.has('chat') && !features.has('gifts')
  element('write').hidden = !features.has('chat')
  showSeats(room, host)
  showPeople(room, { host, gifts: features.has('gifts') })
  invitation.hidden = !seats.invitation
  if (seats.invitation) say(element('invited'), `You are invited to speak, on seat ${numberOf(seats.invitation.seatIndex)}.`)
  element('count').textContent = participantCount === 1 ? '1 person' : `${participantCount} people`
  const [tone, text] = statusOf(room)
  status.dataset.tone = tone
  if (status.textContent !== text) status.textContent = text
  microphoneButton.textContent = !track ? 'Use microphone' : audio?.sending !== true ? 'Take a seat' : audio.muted ? 'Unmute' : 'Mute'
}

function statusOf ({ audio, connection, seats, state }: RoomClient): [tone: string, text: string] {
  if (connection.state === 'waiting') return ['bad', `${trouble ?? 'There is no connection'}. Trying again …`]
  if (state === 'rejoining') return ['bad', 'Coming back …']
  if (state !== 'in') return ['busy', 'Connecting …']
  if (audio?.state === 'connecting') return ['busy', 'Connecting audio …']
  if (audio?.state === 'off') return ['bad', 'Connected, without audio']
  if (audio?.sending !== true) return ['good', 'Connected, listening only']
  return seats.own?.isMuted === true ? ['busy', 'Connected, muted by the host'] : ['good', 'Connected']
}

function nameFrom ({ participants }: RoomClient, id: UserId): string {
  const person = participants.find(({ userId }) => String(userId) === String(id))
  return person ? nameOf(person) : 'Somebody'
}

/** Shows words, or hides where they would be. */
function say (place: HTMLElement, text: string): void {
  // The same words are not read out twice.
  if (place.textContent !== text) place.textContent = text
  place.hidden = text === ''
}
