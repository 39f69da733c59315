import { RoomClient } from '../../../client/index.ts'
import type { RequestError } from '../../../client/index.ts'
import { openMicrophone } from './microphone.ts'
import { createPeople } from './people.ts'
import { playAll } from './playback.ts'

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
const showPeople = createPeople(element('people'))

// A link can name the room and the guest: #room=r1&name=Ada, or ?room=r1.
const given = new URLSearchParams(location.hash.slice(1))
for (const [key, value] of new URLSearchParams(location.search)) if (!given.has(key)) given.set(key, value)
nameField.value = given.get('name') ?? localStorage.getItem('name') ?? ''
roomField.value = given.get('room') ?? 'lobby'
;(nameField.value === '' ? nameField : roomField).focus()

let track: MediaStreamTrack | undefined
/** What is wrong with the connection, while it is being made again. */
let trouble: string | undefined

form.addEventListener('submit', (event) => {
  event.preventDefault()
  enter(nameField.value.trim(), roomField.value)
})
element('leave').addEventListener('click', () => showLobby())
microphoneButton.addEventListener('click', () => {
  const audio = window.flylive?.audio
  if (!audio) return
  if (!track) useMicrophone()
  else if (audio.muted) audio.unmute()
  else audio.mute()
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
  room.connection.on('state', (_state, why) => {
    trouble = why?.message
    show()
  })
  room.audio?.on('state', show)
  room.audio?.on('refused', (error) => {
    dropMicrophone()
    say(notice, `The server does not take your microphone: ${error.message}. You are listening only.`)
    show()
  })
  if (room.audio) playAll(room.audio)
  room.join(roomId).catch(() => { /* showLobby() says why. */ })
  show()
  useMicrophone()
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

async function useMicrophone (): Promise<void> {
  const room = window.flylive
  if (!room) return
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
    if (window.flylive === room) {
      microphoneButton.disabled = false
      showRoom(room)
    }
  }
}

function dropMicrophone (): void {
  window.flylive?.audio?.unpublish()
  track?.stop()
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
  const { audio, participantCount, participants } = room
  showPeople(participants)
  element('count').textContent = participantCount === 1 ? '1 person' : `${participantCount} people`
  const [tone, text] = statusOf(room)
  status.dataset.tone = tone
  if (status.textContent !== text) status.textContent = text
  microphoneButton.textContent = !track ? 'Use microphone' : audio?.muted === true ? 'Unmute' : 'Mute'
}

function statusOf ({ audio, connection, state }: RoomClient): [tone: string, text: string] {
  if (connection.state === 'waiting') return ['bad', `${trouble ?? 'There is no connection'}. Trying again …`]
  if (state === 'rejoining') return ['bad', 'Coming back …']
  if (state !== 'in') return ['busy', 'Connecting …']
  if (audio?.state === 'connecting') return ['busy', 'Connecting audio …']
  if (audio?.state === 'off') return ['bad', 'Connected, without audio']
  return ['good', track ? 'Connected' : 'Connected, listening only']
}

/** Shows words, or hides where they would be. */
function say (place: HTMLElement, text: string): void {
  place.textContent = text
  place.hidden = text === ''
}
