import { defineFeature, keyBehind, pageOf, userKeyOf } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { requests } from './messages.ts'
import { createModeration } from './service.ts'

export { config, requests }

/** Lets the owner and the admins of a room moderate it. */
export default defineFeature(async function moderation (app, settings) {
  const { messages } = app
  const service = createModeration(app, settings)
  const limited = { limit: { perMinute: settings.commandsPerMinute, name: 'moderation', eventual: true } }

  messages.on('room:kick', { ...requests['room:kick'], ...limited }, async ({ userId, banSeconds }, { room, session }) =>
    ({ userId: await service.kick(room, session, userId, banSeconds) }))
  messages.on('room:unban', { ...requests['room:unban'], ...limited }, async ({ userId }, { room, session }) => {
    await service.unban(room, session, userId)
    return { userId }
  })
  messages.on('room:bans', { ...requests['room:bans'], ...limited }, async ({ cursor, limit }, { room, session }) => {
    const found = await service.bans(room, session, keyBehind(cursor), limit + 1)
    const { shown, nextCursor } = pageOf(found, limit, ({ userId }) => userKeyOf(userId))
    return { bans: shown, nextCursor }
  })
  messages.on('room:muteAll', { ...requests['room:muteAll'], ...limited }, async ({ except }, { room, session }) =>
    ({ userIds: await service.muteAll(room, session, except) }))
  messages.on('room:lock', { ...requests['room:lock'], ...limited }, async ({ pin }, { room, session }) => {
    await service.lock(room, session, pin)
    return {}
  })
  messages.on('room:unlock', { ...requests['room:unlock'], ...limited }, async (_data, { room, session }) => {
    await service.unlock(room, session)
    return {}
  })
  messages.on('room:setRole', { ...requests['room:setRole'], ...limited }, async ({ userId, role }, { room, session }) =>
    ({ userId: await service.setRole(room, session, userId, role) }))
  messages.on('room:transfer', { ...requests['room:transfer'], ...limited }, async ({ userId }, { room, session }) =>
    ({ userId: await service.transfer(room, session, userId) }))
  messages.on('room:end', { ...requests['room:end'], ...limited }, async (_data, { room, session }) => {
    await service.end(room, session)
    return {}
  })
  messages.on('chat:delete', { ...requests['chat:delete'], ...limited }, async ({ id }, { room, session }) => {
    await service.deleteMessage(room, session, id)
    return {}
  })
  messages.on('chat:slowMode', { ...requests['chat:slowMode'], ...limited }, async ({ seconds }, { room, session }) => {
    await service.slowMode(room, session, seconds)
    return {}
  })
}, { name: 'moderation', dependencies: ['rooms', 'store'], config })
