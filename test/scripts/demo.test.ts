import { once } from 'node:events'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import t from 'tap'
import { fileOf, lines } from '../../scripts/demo/script.ts'
import { readWav } from '../../scripts/demo/wav.ts'
import { connect } from '../support/client.ts'
import { familyOf, lives, startDemo, ready } from '../support/demo.ts'
import { until } from '../support/retry.ts'

const root = resolve(import.meta.dirname, '../..')

t.test('a guest of the demo joins a room with a conversation', async (t) => {
  const demo = startDemo(t, ['--talkers', '3', '--room', 'here'])
  const { url, room, adminKey } = await ready(demo)
  t.equal(room, 'here')
  const response = await fetch(`${url}/stage/session`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"name":"Ada"}' })
  const { token } = await response.json() as { token: string }
  const guest = await connect(t, url, { token })
  const reply = await guest.ok('room:join', { roomId: room })
  t.match(reply, { ownerId: 101, seats: [{ userId: 101 }, { userId: 102 }], self: { role: 'member' } })
  t.match(reply.participants, [{ name: 'Maya' }, { name: 'Ben' }, { name: 'Emma' }, { name: 'Ada' }])

  await guest.event('chat:message', ({ userId, content }) => userId === 101 && String(content).includes('Ada'))
  t.pass('a talker greets the guest')
  await guest.ok('seat:request', {})
  await guest.event('seat:invite:received', ({ invitedById }) => invitedById === 101)
  await guest.ok('seat:invite:accept', {})
  t.pass('a guest who raises a hand is invited')
  await guest.event('gift:received')
  await guest.event('seat:updated', ({ userId }) => userId === 103)
  t.pass('talkers who raise a hand are invited, too')
  for (const userId of [102, 103]) {
    await guest.event('speaker:active', ({ activeSpeakers }) => (activeSpeakers as number[]).includes(userId))
    t.pass(`${userId} is audible`)
  }

  t.match(await guest.ok('room:join', { roomId: 'my-own' }), { self: { role: 'owner' } }, 'a guest can create a room')
  const admin = await fetch(`${url}/admin/rooms`, { headers: { authorization: `Bearer ${adminKey}` } })
  t.match(await admin.text(), /coffee-corner[^]*here[^]*my-own[^]*night-owls/, 'the demo has several rooms')

  const family = familyOf(demo.child.pid ?? 0)
  t.ok(family.length >= 4, 'the demo, the server, its workers, the talkers')
  demo.child.kill('SIGTERM')
  t.equal(await demo.exit, 0)
  await until(() => !family.some(lives))
  t.pass('all processes have exited')
})

t.test('a demo that cannot start prints the reason', async (t) => {
  const holder = createServer().listen(0, '127.0.0.1')
  t.teardown(() => holder.close())
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  const late = startDemo(t, [], { PORT: String(port) })
  const lonely = startDemo(t, ['--talkers', '2'])
  t.equal(await late.exit, 1)
  t.match(late.output(), `Port ${port} is in use`)
  t.equal(await lonely.exit, 1)
  t.match(lonely.output(), '--talkers must be 3 to 6')
})

t.test('the recordings match the script', async (t) => {
  const folder = join(root, 'scripts/demo/speech')
  t.same(readdirSync(folder).sort(), lines.map(fileOf).sort(), 'node scripts/demo/speech.ts records missing lines')
  let bytes = 0
  for (const line of lines) {
    const file = join(folder, fileOf(line))
    bytes += statSync(file).size
    const { samples, sampleRate, text } = readWav(readFileSync(file))
    const rms = Math.sqrt(samples.reduce((sum, sample) => sum + sample ** 2, 0) / samples.length) / 32_768
    t.ok(text === line.text && sampleRate === 16_000 && rms > 0.04 && rms < 0.2, `${fileOf(line)}: ${text}`)
  }
  t.ok(bytes < 1_500_000, 'the recordings are small')
  t.throws(() => readWav(Buffer.from('RIFF\0\0\0\0WAVE')), /no WAV file/)
})
