import t from 'tap'
import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'
import { masked, problemsInEnv, settingsFromEnv, settingsJsonSchema } from '../../../plugins/schema/variables.ts'
import { build } from '../../support/build.ts'
import { featureFolder } from '../../support/features.ts'

const config = z.object({
  longest: fromEnv('WAVE_LONGEST', z.int().min(1).max(500).default(50).describe('Longest wave.'), read.number),
  loud: fromEnv('WAVE_LOUD', z.boolean().default(false), read.flag),
  names: fromEnv('WAVE_NAMES', z.array(z.string().min(2, 'must have at least 2 characters')).default([]), read.list),
  key: fromEnv('WAVE_KEY', secret(z.string().min(8, 'must have at least 8 characters').optional())),
  plain: z.string().default('plain')
})

t.test('reads the variables that are set', async (t) => {
  t.same(settingsFromEnv(config, {}), {})
  t.same(settingsFromEnv(config, { WAVE_LONGEST: '', plain: 'x', WAVE_OTHER: '1' }), {}, 'an empty variable counts as unset')
  t.same(config.parse(settingsFromEnv(config, { WAVE_LONGEST: '7', WAVE_LOUD: 'yes', WAVE_NAMES: ' ada, bob ,', WAVE_KEY: 'top-secret' })),
    { longest: 7, loud: true, names: ['ada', 'bob'], key: 'top-secret', plain: 'plain' })
})

t.test('names the invalid variables without their values', async (t) => {
  t.same(problemsInEnv(config, { WAVE_LONGEST: '7' }), [])
  const problems = problemsInEnv(config, { WAVE_LONGEST: 'seven', WAVE_LOUD: 'perhaps', WAVE_NAMES: 'a', WAVE_KEY: 'hunter2' })
  t.same(problems, [
    'WAVE_LONGEST: must be a number',
    'WAVE_LOUD: must be true or false',
    'WAVE_NAMES: must have at least 2 characters',
    'WAVE_KEY: must have at least 8 characters'
  ])
  t.match(problemsInEnv(config, { WAVE_LONGEST: '7.5' }), ['WAVE_LONGEST: must be a whole number'])
  t.match(problemsInEnv(config, { WAVE_LONGEST: '501' }), [/^WAVE_LONGEST: .*500/])
})

t.test('masks secrets and marks them in the JSON Schema', async (t) => {
  t.same(masked(config, { key: 'top-secret', longest: 7 }), { key: '********', longest: 7 })
  t.same(masked(config, { key: undefined }), { key: undefined })
  t.match(settingsJsonSchema(config), {
    properties: { key: { writeOnly: true, description: 'Environment variable: WAVE_KEY.' }, longest: { description: 'Longest wave. Environment variable: WAVE_LONGEST.' } }
  })
})

t.test('a feature outside the server can read variables', async (t) => {
  const folder = featureFolder(t)
  folder.write('wave', {
    'index.ts': `import { defineFeature, fromEnv, read, secret, z } from 'flylive-audio-server/feature'
export const requests = { 'wave:settings': { request: z.object({}), reply: z.object({ longest: z.int(), keyLength: z.int() }) } }
export const config = z.object({
  longest: fromEnv('WAVE_LONGEST', z.int().max(500).default(50), read.number),
  key: fromEnv('WAVE_KEY', secret(z.string().default('')))
})
export default defineFeature(async (app, { longest, key }) => {
  app.messages.on('wave:settings', { ...requests['wave:settings'], room: false }, () => ({ longest, keyLength: key.length }))
}, { name: 'wave', config })
`
  })
  const lines: string[] = []
  const start = async (env: Record<string, string>) => await build(t, {
    env: { FEATURES: 'auth,wave', FEATURES_PATH: folder.path, WAVE_KEY: 'top-secret', ...env },
    log: (line) => lines.push(JSON.stringify(line))
  })
  const settings = async (server: Awaited<ReturnType<typeof start>>) => await (await server.connect(1)).ok('wave:settings')

  t.same(await settings(await start({})), { longest: 50, keyLength: 10 }, 'the default of the schema')
  t.match(await settings(await start({ WAVE_LONGEST: '60' })), { longest: 60 }, 'the variable overrides the default')
  const server = await start({ WAVE_LONGEST: '60', FEATURES_CONFIG: '{"wave":{"longest":70}}' })
  t.match(await settings(server), { longest: 70 }, 'FEATURES_CONFIG overrides the variable')
  const change = await server.admin('PATCH', '/admin/features/wave/config', { longest: 80, key: 'another-secret' })
  t.match(change, { status: 200, body: { config: { longest: 80, key: '********' } } })
  t.same(await settings(server), { longest: 80, keyLength: 14 }, 'an admin overrides both')
  await server.admin('PATCH', '/admin/features/wave/config', { longest: 81, key: '********' })
  t.same(await settings(server), { longest: 81, keyLength: 14 }, 'a mask that is sent back changes nothing')
  await server.admin('PATCH', '/admin/features/wave/config', { longest: null, key: null })
  t.same(await settings(server), { longest: 70, keyLength: 10 }, 'reset')
  const shown = JSON.stringify((await server.admin('GET', '/admin/features')).body)
  for (const value of ['top-secret', 'another-secret']) {
    t.notOk(shown.includes(value), `${value} is not shown`)
    t.notOk(lines.some((line) => line.includes(value)), `${value} is not logged`)
  }
  t.match(server.app.features.list().find(({ name }) => name === 'wave'), { state: 'enabled' })
  t.match((await start({ WAVE_LONGEST: 'many' })).app.features.list().find(({ name }) => name === 'wave'), { state: 'failed', error: /WAVE_LONGEST/ })
})
