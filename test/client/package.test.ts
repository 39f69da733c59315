import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { build, tokenFor } from '../support/build.ts'
import { until } from '../support/retry.ts'
import { installClient } from './package.ts'

// Tests the client package as it is published and installed.

const tsc = resolve(import.meta.dirname, '../../node_modules/typescript-7/bin/tsc')
const folder = installClient(t)
const server = await build(t, { env: { FEATURES: 'auth,media,seats,chat,gifts' } })
writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')

const program = `
import { Connection, RequestError, RoomClient } from '@flylive/audio-client'
import type { ErrorCode, EventData, JoinReply } from '@flylive/audio-client'
import type { Events, Requests } from '@flylive/audio-client/contract'

declare module '@flylive/audio-client/contract' {
  interface Requests { 'wave:send': { request: { to: string }, reply: { to: string } } }
  interface Events { 'wave:received': { roomId: string, from: string } }
}

const [url = '', token = ''] = process.argv.slice(2)
const room = new RoomClient({ url, token: async () => token, audio: false })
const arrived = new Promise<EventData<'chat:message'>>((resolve) => { room.connection.on('chat:message', resolve) })
const reply: JoinReply = await room.join('r1', { seatCount: 3 })
const count: number | undefined = reply.seatCount
const history: Events['chat:message'][] = reply.chatHistory ?? []
const { seatIndex }: Requests['seat:take']['reply'] = await room.connection.request('seat:take', { seatIndex: 1 })
const { id } = await room.connection.request('chat:message', { content: 'Hello', messageType: 'text' })
const { content, id: same } = await arrived
const refused: unknown = await room.connection.request('seat:take', { seatIndex: 9 }).catch((error: unknown) => error)
const expected: ErrorCode = 'SEAT_INVALID'
const code = refused instanceof RequestError && refused.code === expected ? expected : undefined
const waving = async () => (await room.connection.request('wave:send', { to: 'b' })).to.length
room.connection.on('wave:received', ({ from }) => from.length)
// @ts-expect-error The seat is missing.
const wrong = () => room.connection.request('seat:take', {})
// @ts-expect-error There is no such event.
room.connection.on('no:such', () => {})
room.audio?.on('added', ({ track }) => track.id)
console.log(JSON.stringify({ count, history, seatIndex, sameMessage: id === same, content, code, features: [...room.connection.features].sort(), unused: [typeof waving, typeof wrong, typeof Connection] }))
room.close()
`

t.test('the package contains exactly what it needs', async (t) => {
  const files = readdirSync(join(folder, 'node_modules/@flylive/audio-client'), { recursive: true }).map(String)
  t.ok(['package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'dist/browser.js', 'dist/contract.d.ts'].every((file) => files.includes(file)))
  t.same(files.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts')), [])
})

t.test('the declarations compile with the strictest options', async (t) => {
  writeFileSync(join(folder, 'program.ts'), program)
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      strict: true,
      skipLibCheck: false,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      module: 'nodenext',
      target: 'es2022',
      lib: ['esnext', 'dom', 'dom.iterable'],
      types: ['node'],
      typeRoots: [resolve(import.meta.dirname, '../../node_modules/@types')],
      noEmit: true
    },
    files: ['program.ts']
  }))
  const { status, stdout } = spawnSync(process.execPath, [tsc, '--project', folder], { encoding: 'utf8' })
  t.equal(status, 0, stdout)
})

t.test('in Node, the client joins, takes a seat and exchanges chat messages', async (t) => {
  const { status, stdout, stderr } = await exec('program.ts', [server.url, tokenFor(1)])
  t.equal(status, 0, stderr)
  t.same(JSON.parse(stdout), {
    count: 3,
    history: [],
    seatIndex: 1,
    sameMessage: true,
    content: 'Hello',
    code: 'SEAT_INVALID',
    features: ['auth', 'chat', 'gifts', 'media', 'seats'],
    unused: ['function', 'function', 'function']
  })
})

t.test('the Node example does what the README says', async (t) => {
  const bob = await server.connect('b')
  await bob.ok('room:join', { roomId: 'lobby' })
  await bob.ok('chat:message', { content: 'Is anybody here?' })
  const example = start('listen.js', [server.url, tokenFor(1)])
  t.match(await bob.event('seat:updated'), { userId: 1, seatIndex: 0 })
  t.match(await bob.event('chat:message', ({ userId }) => userId === 1), { content: 'Good evening' })
  await bob.ok('chat:message', { content: 'Welcome' })
  await bob.ok('seat:take', { seatIndex: 3 })
  await until(() => example.output().includes('b took seat 3'))
  for (const line of ['User b wrote: Is anybody here?', 'User b: Welcome', 'User 1: Good evening']) await until(() => example.output().includes(line))
  example.child.kill('SIGINT')
  t.same(await example.ended, [0, null], 'the example exits on its own')
  t.match(await bob.event('seat:cleared'), { userId: 1 })
})

function start (file: string, args: string[]) {
  const child = spawn(process.execPath, [file, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const [out, err]: [string[], string[]] = [[], []]
  child.stdout.setEncoding('utf8').on('data', (text: string) => out.push(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => err.push(text))
  return { child, ended: once(child, 'close'), output: () => out.join(''), errors: () => err.join('') }
}

async function exec (file: string, args: string[]) {
  const { ended, output, errors } = start(file, args)
  const [status] = await ended as [number]
  return { status, stdout: output(), stderr: errors() }
}
