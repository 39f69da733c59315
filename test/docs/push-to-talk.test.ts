import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { decode } from '@msgpack/msgpack'
import { build, tokenFor } from '../support/build.ts'
import { connectRadio, radioToken } from '../support/radio.ts'
import type { TestRadio } from '../support/radio.ts'
import { until } from '../support/retry.ts'

const root = join(import.meta.dirname, '../..')
const doc = readFileSync(join(root, 'docs/push-to-talk.md'), 'utf8')
const blockOf = (language: string) => new RegExp('```' + language + '\n([^]*?)```').exec(doc)?.[1]?.trim().split('\n') ?? []
const env = { FEATURES: 'auth,media,push-to-talk' }
const claims = { channelIds: [5] }

/** Masks times and durations, which differ from run to run. */
const masked = (value: unknown) => JSON.stringify(value).replace(/\d{13}/g, 'T').replace(/_\d+ms/g, '_Dms').replace(/(duration\\?":)\d+/g, '$1D')

t.test('the server sends the frames in docs/push-to-talk.md', async (t) => {
  const server = await build(t, { env })
  const radios: Record<string, TestRadio> = { ada: await connectRadio(t, server.url, 1, { claims }), bob: await connectRadio(t, server.url, 2, { claims }) }
  const lines = blockOf('frames')
  t.ok(lines.length > 15)
  for (const line of lines) {
    const [, who = '', direction, hex = ''] = /^(\w+) ([→←]) ((?:[\da-f]{2} ?)+)(?= |$)/.exec(line) ?? []
    const radio = radios[who] as TestRadio
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const frame = decode(bytes) as unknown[]
    if (direction === '→') radio.sendRaw(bytes)
    else t.equal(masked(await radio.next(frame[1] as number)), masked(frame), line.trim())
  }
})

t.test('the server sends a native client the messages in docs/push-to-talk.md', async (t) => {
  const server = await build(t, { env })
  const client = await server.connect(7, { token: tokenFor(7, claims) })
  const radio = await connectRadio(t, server.url, 1, { claims })
  const keysOf = (value: unknown) => Object.keys(Object(value) as object)
  for (const line of blockOf('json-frames')) {
    const [direction] = line
    const { id, type, data } = JSON.parse(line.slice(2)) as { id?: number, type?: string, data: Record<string, unknown> }
    if (direction === '→') {
      const reply = await client.ok(String(type), data)
      const shown = JSON.parse(blockOf('json-frames').find((other) => other.startsWith(`← {"id":${id},`))?.slice(2) ?? '{}') as { data: Record<string, unknown> }
      t.same(keysOf(shown.data).filter((key) => !(key in reply)), [], line)
      continue
    }
    if (type === undefined || type === 'session:ready') continue
    if (type === 'ptt:floor') radio.send(0, data.userId === null ? 2 : 1, 1, 5)
    const event = await client.event(type)
    t.same(keysOf(event).sort(), keysOf(data).sort(), line)
    t.equal(event.userId, data.userId)
  }
})

t.test('the Python examples work', async (t) => {
  const server = await build(t, { env })
  const run = (...args: string[]) => {
    const child = spawn('python3', [join(root, 'docs/python', args[0] as string), ...args.slice(1)], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const lines: unknown[] = []
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)))
    return { lines, exit: once(child, 'close').then(([code]) => code as number, () => undefined) }
  }
  const ws = server.url.replace('http', 'ws')
  const listener = run('radio.py', `${ws}/ptt`, radioToken(2, claims), '5', '--frames', '29')
  if (await Promise.race([listener.exit, until(() => listener.lines.length > 0)]) === undefined) return t.comment('python3 is not installed')
  const native = run('native.py', `${ws}/ws`, tokenFor(3, claims), 'ptt:5', '--events', '4')
  await until(() => native.lines.length > 1)
  const talker = run('radio.py', `${ws}/ptt`, radioToken(1, claims), '5', '--talk', '--text', 'hello')
  t.equal(await talker.exit, 0)
  t.match(talker.lines.map((frame) => (frame as number[])[1]), [26, 22, 6, 7])
  t.equal(await listener.exit, 0)
  t.same(listener.lines.map((frame) => (frame as number[])[1]), [26, 17, 1, ...Array.from({ length: 25 }, () => 3), 2])
  await until(() => native.lines.some((line) => (line as { type?: string }).type === 'ptt:floor'))
  t.match(native.lines.find((line) => (line as { type?: string }).type === 'ptt:floor'), { data: { roomId: 'ptt:5', userId: 1 } })
})
