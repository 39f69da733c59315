import { createHmac } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { eventData, webhook } from '../../features/webhooks/events.ts'
import type { EventName } from '../../features/webhooks/events.ts'
import { signatureOf } from '../../features/webhooks/sender.ts'

const text = readFileSync(join(import.meta.dirname, '../../docs/webhooks.md'), 'utf8')
const blocks = (language: string) => [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, code = '']) => code)

t.test('the examples match the schemas', async (t) => {
  const [body = '', examples = ''] = blocks('json')
  t.ok(webhook.strict().safeParse(JSON.parse(body)).success)
  const data = JSON.parse(examples) as Record<EventName, unknown>
  t.strictSame(Object.keys(data), Object.keys(eventData))
  for (const [name, schema] of Object.entries(eventData)) {
    t.ok(schema.strict().safeParse(data[name as EventName]).success, name)
    const row = new RegExp(`^\\| \`${name}\` \\|.*$`, 'm').exec(text)?.[0] ?? ''
    for (const field of Object.keys(schema.shape)) t.ok(row.includes(`\`${field}`), `${name}: ${field}`)
  }
})

t.test('the Node example accepts only signatures of the server', async (t) => {
  const file = join(t.testdir({}), 'example.mjs')
  writeFileSync(file, blocks('js')[0] ?? '')
  const { isFromServer } = await import(pathToFileURL(file).href) as { isFromServer: (header: string, body: Buffer, secret: string) => boolean }
  const body = Buffer.from('{"name":"é"}')
  const now = Math.floor(Date.now() / 1000)
  t.ok(isFromServer(signatureOf('secret', now, String(body)), body, 'secret'))
  t.notOk(isFromServer(signatureOf('another', now, String(body)), body, 'secret'))
  t.notOk(isFromServer(signatureOf('secret', now - 600, String(body)), body, 'secret'), 'a replayed webhook is rejected')
  t.notOk(isFromServer(signatureOf('secret', now, String(body)), Buffer.from('{}'), 'secret'))
  for (const header of ['', 't=,v1=', `t=${now}`, `t=x,v1=${createHmac('sha256', 'secret').update('x.{}').digest('hex')}`]) t.notOk(isFromServer(header, body, 'secret'), header)
})
