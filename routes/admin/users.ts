import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { roomId, userId, userIdText } from '../../plugins/schema/ids.ts'
import { userKeyOf } from '../../plugins/connections/session.ts'

/** GET /admin/users/:userId: a user's sessions on all servers. */
export default (async function users (app) {
  if (!app.admin.enabled) return

  app.get('/admin/users/:userId', {
    schema: {
      tags: ['users'],
      summary: "Lists a user's sessions on all servers",
      params: z.object({ userId: userIdText.describe('The user id as a string, even if it is numeric') }),
      response: {
        200: z.object({
          userId,
          sockets: z.array(z.object({ sessionId: z.string(), node: z.string(), roomId: roomId.nullable(), connectedAt: z.int() })),
          roomId: roomId.nullable(),
          seat: z.int().nullable()
        })
      }
    }
  }, async ({ params: { userId: userKey } }) => {
    const sessions = await app.directory.sessionsOf(userKey)
    const roomId = sessions.find((session) => session.roomId !== null)?.roomId ?? null
    const [room, [member] = []] = roomId === null ? [] : await Promise.all([app.store.getRoom(roomId), app.store.getMembers(roomId, [userKey])])
    const [here] = app.sockets.ofUser(userKey)
    const [seating] = room ? await app.hooks.ask('admin:seating', [room]) : []
    return {
      userId: here?.user.id ?? sessions.find(({ userId }) => userId !== undefined)?.userId ?? member?.id ?? userKey,
      sockets: sessions.map(({ sessionId, nodeId, roomId, connectedAt }) => ({ sessionId, node: nodeId, roomId, connectedAt })),
      roomId,
      seat: seating?.[0]?.seats.find((seat) => userKeyOf(seat.userId) === userKey)?.seatIndex ?? null
    }
  })
}) satisfies FastifyPluginAsyncZod
