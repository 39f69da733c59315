import t from 'tap'
import { z } from 'zod'
import { checkInput } from '../../../plugins/schema/input.ts'
import { build } from '../../support/build.ts'

const issuesOf = (schema: z.ZodType, input: unknown) => {
  const result = checkInput(schema, input)
  return result.success ? [] : result.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
}

t.test('the error of a union names the accepted options', async (t) => {
  t.same(issuesOf(z.object({ id: z.union([z.string(), z.int()]) }), { id: null }), ['id: Invalid input: expected string; or expected number'])
  t.same(issuesOf(z.union([z.object({ a: z.string() }), z.object({ b: z.int(), c: z.int().min(1) })]), { b: 'x', c: 0 }), [': Invalid input: a: expected string; or b: expected number, c: Too small: expected number to be >=1'])
  t.same(issuesOf(z.union([z.literal('on'), z.union([z.literal(1), z.null()])]), true), [': Invalid input: expected "on"; or expected 1; or expected null'])
  t.same(issuesOf(z.discriminatedUnion('type', [z.object({ type: z.literal('x') }), z.object({ type: z.literal('y') })]), { type: 'z' }), ["type: Invalid discriminator value. Expected 'x' | 'y'"])
  t.same(issuesOf(z.union([z.string(), z.int()], 'must be an id'), null), [': must be an id'])
})

t.test('the admin API returns the error of a union', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth' } })
  const message = 'Invalid input: token: expected string; or sha256: must be the hex SHA-256 of a token, expiresAt: expected number'
  t.match(await server.admin('POST', '/admin/tokens/revoke', { sha256: 'abc' }), { status: 400, body: { error: { code: 'VALIDATION_FAILED', message, details: [{ path: '', message }] } } })
})
