import t from 'tap'
import { build, onEveryStore } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

/** A feature that adds `colour` to the room:join request and returns the room's stored colour in the reply. */
const colours = (longest: number) => `import { defineFeature, z } from 'flylive-audio-server/feature'
export default defineFeature(async (app) => {
  app.messages.accepts('room:join', z.object({ colour: z.string().max(${longest}).default('grey') }))
  app.messages.adds('room:join', z.object({ colour: z.unknown() }))
  app.hooks.on('room:join', ({ record }) => ({ colour: record.options.colour }))
}, { name: 'colours', dependencies: ['rooms'] })
`

onEveryStore(t, 'the room keeps the fields that a feature adds to room:join', async (t, env) => {
  const folder = featureFolder(t)
  folder.write('colours', { 'index.ts': colours(5) })
  const server = await build(t, { env: { FEATURES: 'auth,colours', FEATURES_PATH: folder.path, ...env } })
  const ada = await server.connect(1)
  const bob = await server.connect(2)

  t.match((await ada.request('room:join', { roomId: 'r1', colour: 'yellow' })).error, { code: 'VALIDATION_FAILED', details: [{ path: 'colour' }] })
  t.match(await ada.ok('room:join', { roomId: 'r1', colour: 'red' }), { colour: 'red' })
  t.match(await bob.ok('room:join', { roomId: 'r1', colour: 'blue' }), { colour: 'red' }, 'joining an existing room does not change its colour')
  t.match(await bob.ok('room:join', { roomId: 'r2' }), { colour: 'grey' }, 'the default applies')
  const joinOf = () => server.app.contract().requests.find(({ type }) => type === 'room:join')
  t.ok('colour' in (joinOf()?.request as { shape?: object }).shape!, 'the field is in the contract')

  folder.write('colours', { 'index.ts': colours(6) })
  t.match(await server.admin('POST', '/admin/features/colours/reload'), { status: 200 })
  t.match(await ada.ok('room:join', { roomId: 'r3', colour: 'yellow' }), { colour: 'yellow' }, 'a reload replaces the schema')
  t.match(await ada.ok('room:join', { roomId: 'r1' }), { colour: 'red' })

  t.match(await server.admin('POST', '/admin/features/colours/disable'), { status: 200 })
  const reply = await ada.ok('room:join', { roomId: 'r4', colour: 'longer than six' })
  t.notOk('colour' in reply, 'disabling the feature removes the field')
  t.same(server.app.rooms.get('r4')?.record.options, {})
})
