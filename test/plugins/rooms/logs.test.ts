import t from 'tap'
import { build, onBothStores } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

const notes = `import { defineFeature, roomId, z } from 'flylive-audio-server/feature'
export const requests = {
  'notes:add': { request: z.object({ text: z.string(), keep: z.number().default(2) }), reply: z.object({}) },
  'notes:list': { request: z.object({}), reply: z.object({ notes: z.array(z.string()) }) }
}
export default defineFeature(async function notes (app) {
  app.messages.events({ 'notes:added': z.object({ roomId, text: z.string() }) })
  app.messages.on('notes:add', requests['notes:add'], async ({ text, keep }, { room }) => {
    await app.rooms.emitLogged(room.roomId, 'notes:added', { text }, { entry: text, keep })
    return {}
  })
  app.messages.on('notes:list', requests['notes:list'], async (_data, { room }) => ({ notes: await app.store.readLog(room.roomId) }))
}, { name: 'notes', dependencies: ['rooms', 'store'] })
`

onBothStores(t, 'each feature has its own log per room', async (t, env) => {
  const folder = featureFolder(t)
  folder.write('notes', { 'index.ts': notes })
  const server = await build(t, { env: { ...env, FEATURES: 'auth,chat,notes', FEATURES_PATH: folder.path } })
  const ada = await server.connect(1)
  await ada.ok('room:join', { roomId: 'r1' })
  for (const content of ['one', 'two', 'three']) await ada.ok('chat:message', { content })
  for (const text of ['a', 'b', 'c']) await ada.ok('notes:add', { text })
  t.same(await ada.ok('notes:list'), { notes: ['b', 'c'] }, 'the log has its own length')
  t.match((await ada.ok('chat:history')).messages, [{ content: 'one' }, { content: 'two' }, { content: 'three' }], 'the chat is unchanged')
  const bob = await server.connect(2)
  const { chatHistory } = await bob.ok('room:join', { roomId: 'r1' })
  t.strictSame((chatHistory as { content: string }[]).map(({ content }) => content), ['one', 'two', 'three'])

  for (const keep of [0, -1, 1.5]) t.equal((await ada.request('notes:add', { text: 'd', keep })).error?.code, 'INTERNAL', `a log of length ${keep}`)
  t.same(await ada.ok('notes:list'), { notes: ['b', 'c'] })
})
