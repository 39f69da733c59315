import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { refusals } from '../../plugins/errors/refusals.ts'
import { FeatureDisabled } from '../../plugins/errors/codes.ts'
import { DependencyDisabled, FeatureInUse, FeatureLoadFailed, FeatureNotFound } from '../../plugins/features/errors.ts'

const params = z.object({ name: z.string().min(1).max(128) })
const querystring = z.object({
  cascade: z.stringbool({ error: 'must be true or false' }).default(false).describe('Whether enabling a feature also enables its dependencies, and disabling a feature also disables its dependents')
})
const names = z.array(z.string())

const feature = z.object({
  name: z.string(),
  state: z.enum(['enabled', 'disabled', 'failed']).describe('`failed`: enabled, but not running'),
  version: z.string().nullable(),
  generation: z.int().describe('Number of the running generation; 0 if the feature is not running'),
  dependencies: names,
  loadedAt: z.int().nullable().describe('Epoch milliseconds'),
  error: z.string().nullable().describe('Why the feature is not running, or why its last change failed'),
  messages: names,
  routes: names,
  config: z.record(z.string(), z.unknown()).describe('Current settings'),
  configSchema: z.record(z.string(), z.unknown()).describe('JSON Schema of the settings')
})

const changed = feature.extend({
  changed: z.object({ enabled: names, disabled: names }).describe('Features that this change enabled and disabled')
})

const tags = ['features']
const refused = refusals(FeatureNotFound, FeatureInUse, DependencyDisabled, FeatureDisabled, FeatureLoadFailed)
const actions = {
  enable: 'Enables a feature on all servers',
  disable: 'Disables a feature on all servers',
  reload: "Reloads a feature's code from disk"
}

/** /admin/features: lists the features and changes them at run time. */
export default (async function features (app) {
  if (!app.admin.enabled) return

  const list = () => app.features.list().map(({ version, loadedAt, error, ...rest }) =>
    ({ ...rest, dependencies: [...rest.dependencies], messages: [...rest.messages], routes: [...rest.routes], version: version ?? null, loadedAt: loadedAt ?? null, error: error ?? null }))
  function get (name: string) {
    const found = list().find((one) => one.name === name)
    if (!found) throw new FeatureNotFound(name)
    return found
  }
  const shortly = ({ state, generation, config }: ReturnType<typeof get>) => ({ state, generation, config })

  app.get('/admin/features', {
    schema: { tags, summary: 'Lists the features and their states', response: { 200: z.object({ features: z.array(feature) }) } }
  }, async () => ({ features: list() }))

  for (const action of ['enable', 'disable', 'reload'] as const) {
    app.post(`/admin/features/:name/${action}`, {
      schema: { tags, summary: actions[action], params, querystring, response: { 200: changed, ...refused } }
    }, async (request) => {
      const { params: { name }, query: { cascade } } = request
      const before = get(name)
      const changed = await app.features[action](name, cascade)
      const after = get(name)
      app.admin.audit(request, `feature.${action}`, { feature: name, before: shortly(before), after: shortly(after), changed })
      return { ...after, changed }
    })
  }

  app.patch('/admin/features/:name/config', {
    schema: {
      tags,
      summary: "Changes a feature's settings and reloads the feature",
      params,
      body: z.record(z.string(), z.unknown()).describe('null resets a setting'),
      response: { 200: changed, ...refused }
    }
  }, async (request) => {
    const { params: { name }, body } = request
    const before = get(name)
    const changed = await app.features.configure(name, body)
    const after = get(name)
    app.admin.audit(request, 'feature.configure', { feature: name, before: shortly(before), after: shortly(after) })
    return { ...after, changed }
  })

  app.post('/admin/features/rescan', {
    schema: {
      tags,
      summary: 'Finds added and removed features',
      response: { 200: z.object({ added: names, removed: names, failed: z.record(z.string(), z.string()), features: z.array(feature) }) }
    }
  }, async (request) => {
    const known = () => list().map(({ name }) => name)
    const before = known()
    const result = await app.features.rescan()
    app.admin.audit(request, 'feature.rescan', { ...result, before, after: known() })
    return { ...result, features: list() }
  })
}) satisfies FastifyPluginAsyncZod
