// node listen.js https://audio.example.com "$TOKEN"
import { RoomClient } from '@flylive/audio-client'

const [url, token] = process.argv.slice(2)
const room = new RoomClient({ url, token: () => token, audio: false })

room.on('state', (state, why) => console.log(state, why?.code ?? ''))
room.connection.on('room:userJoined', ({ user }) => console.log(`${user.name} joined`))
room.connection.on('seat:updated', ({ userId, seatIndex }) => console.log(`${userId} took seat ${seatIndex}`))
room.connection.on('chat:message', ({ userName, content }) => console.log(`${userName}: ${content}`))
room.gifts.on('received', ({ giftId, senderId, recipientId }) => console.log(`${senderId} sent gift ${giftId} to ${recipientId}`))
process.on('SIGINT', () => room.leave().finally(() => room.close()))

const { chatHistory = [] } = await room.join('lobby')
for (const { userName, content } of chatHistory) console.log(`${userName} wrote: ${content}`)
await room.seats.takeFree()
await room.connection.request('chat:message', { content: 'Good evening' })
