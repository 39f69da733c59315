import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { Test } from 'tap'
import type { LoadReport } from '../../bench/load/run.ts'
import { build, jwtSecret, tokenFor } from '../support/build.ts'
import { forwardMedia, unreachableAddress } from '../support/media.ts'
import { until } from '../support/retry.ts'

// Runs the load tester in the same way as `npm run load`, against a server in this process.

const root = join(import.meta.dirname, '..', '..')
const program = join(root, 'bench', 'load', 'main.ts')

/** @param interrupt when this promise resolves, the program receives SIGINT */
async function load (t: Test, args: string[], env: Record<string, string> = { JWT_SECRET: jwtSecret }, interrupt?: Promise<unknown>) {
  const child = spawn(process.execPath, [program, ...args], {
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => { child.kill('SIGKILL') })
  interrupt?.then(() => child.kill('SIGINT'))
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code: code as number, stdout, stderr }
}

/** A longer time without packets shows that the machine has paused. */
const maxGapMs = 500

/** Measures with the load tester. Repeats the measurement if the machine pauses, because packets then arrive late. */
async function measure (t: Test, args: string[]) {
  return await until(async () => {
    const result = await load(t, args)
    return !(Number(cellsOf(result.stdout)['gap ms']) > maxGapMs) && result
  }, 60_000)
}

/** Compares packet rates. On a busy machine, some packets arrive after the measurement ends. */
const isNear = (packetsPerSecond: number, expected: number) => packetsPerSecond > expected * 0.7 && packetsPerSecond < expected * 1.1

/** @returns the cells of the table's first row, by column title */
function cellsOf (output: string): Record<string, string> {
  const [head = '', row = ''] = output.split('\n')
  const cells = (line: string) => line.trim().split(/ {2,}/)
  return Object.fromEntries(cells(head).map((title, i) => [title, cells(row)[i] ?? '']))
}

t.test('prints the quality that the listeners of two speakers receive', async (t) => {
  const { url } = await build(t)
  const { code, stdout, stderr } = await measure(t, ['--url', url, '--mode', 'voices', '--speakers', '2', '--listeners', '3', '--seconds', '3', '--room', 'talk'])
  const cells = cellsOf(stdout)
  t.match(cells, { room: 'talk-1', speakers: '2/2', listeners: '3/3', loss: '0.00 %' }, stdout + stderr)
  // Each of the three listeners receives two streams of 50 packets per second.
  t.ok(isNear(Number(cells['packets/s']), 300), `${cells['packets/s']} packets/s`)
  for (const title of ['join ms', 'set-up ms', 'first audio ms', 'event ms']) {
    const [p50 = NaN, p95 = NaN] = (cells[title] ?? '').split('/').map(Number)
    t.ok(p50 <= p95 && p95 < 5000, `${title}: ${cells[title]}`)
  }
  t.ok(Number(cells['gap ms']) >= 20, 'a packet arrives every 20 ms')
  t.match(cells.concealed, /^\d+\.\d\d %$/)
  t.match(stdout, /took 2 round trips/)
  t.equal(code, 0)
})

t.test('counts the packets that the network drops', async (t) => {
  const server = await build(t, { env: { MEDIASOUP_ANNOUNCED_IP: unreachableAddress, FEATURES: 'auth,media' }, warmWorkers: true })
  let packets = 0
  const isRtp = (packet: Buffer) => ((packet[0] as number) & 0xc0) === 0x80 && ((packet[1] as number) < 200 || (packet[1] as number) > 206)
  for (const { port } of server.app.sfu.workers()) await forwardMedia(t, port, (packet) => !isRtp(packet) || ++packets % 5 !== 0)
  const { code, total } = await until(async () => {
    const { code, stdout } = await load(t, ['--url', server.url, '--mode', 'voices', '--speakers', '1', '--listeners', '2', '--seconds', '2', '--json'])
    const { total } = JSON.parse(stdout) as LoadReport
    return !(total.longestGapMs > maxGapMs) && { code, total }
  }, 60_000)
  t.ok(Math.abs(total.loss - 0.2) < 0.03, `loss ${total.loss}`)
  t.ok(total.concealment >= total.loss, `concealed ${total.concealment}`)
  t.ok(isNear(total.packetsPerSecond, 80), `${total.packetsPerSecond} packets/s`)
  t.equal(total.eventDelayMs, undefined, 'the feature chat is off')
  t.equal(code, 0)
})

const withMix = existsSync(join(root, 'features', 'mix')) ? {} : { skip: 'there is no feature mix' }
t.test('each listener of the mix receives one stream', withMix, async (t) => {
  const { url } = await build(t)
  const { code, stdout, stderr } = await measure(t, ['--url', url, '--mode', 'mix', '--speakers', '2', '--listeners', '3', '--seconds', '3'])
  const cells = cellsOf(stdout)
  t.match(cells, { speakers: '2/2', listeners: '3/3', loss: '0.00 %' }, stdout + stderr)
  t.ok(isNear(Number(cells['packets/s']), 150), `${cells['packets/s']} packets/s`)
  t.equal(code, 0)
})

t.test('prints the table when it is interrupted', async (t) => {
  const { app, url } = await build(t)
  const joined = until(() => app.sockets.size === 2)
  const { stdout } = await load(t, ['--url', url, '--mode', 'voices', '--speakers', '1', '--listeners', '1', '--seconds', '3600'], { JWT_SECRET: jwtSecret }, joined)
  t.match(cellsOf(stdout), { speakers: '1/1', listeners: '1/1' })
})

t.test('reports that the server offers no mix', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth,media' } })
  const { code, stderr } = await load(t, ['--url', url, '--mode', 'mix', '--speakers', '1', '--listeners', '1'])
  t.match(stderr, /^load: NO_MIX: The server offers no mix .*--mode voices$/m)
  t.equal(code, 1)
})

t.test('reports why the server rejects the participants', async (t) => {
  const { url } = await build(t, { env: { MAX_CONNECTIONS_PER_USER: '1' } })
  await t.test('a wrong secret ends the run with UNAUTHORIZED', async (t) => {
    const { code, stderr } = await load(t, ['--url', url, '--secret', 'another-secret-that-is-long-enough-too'])
    t.match(stderr, /^load: UNAUTHORIZED: The server rejected the connection with HTTP 401: /m)
    t.equal(code, 1)
  })
  await t.test('reports participants that the server rejects', async (t) => {
    const file = join(t.testdir({ tokens: `${tokenFor(1)}\n${tokenFor(2)}\n${tokenFor(2)}\n` }), 'tokens')
    const { code, stdout } = await load(t, ['--url', url, '--tokens', file, '--mode', 'voices', '--speakers', '1', '--listeners', '2', '--seconds', '1'], {})
    t.match(cellsOf(stdout), { speakers: '1/1', listeners: '1/2' })
    t.match(stdout, /^1 × TOO_MANY_CONNECTIONS: /m)
    t.equal(code, 1)
  })
})

t.test('reports a server that does not answer', async (t) => {
  const { code, stderr } = await load(t, ['--url', 'http://127.0.0.1:9'])
  t.match(stderr, /^load: UNREACHABLE: No server responds at ws:\/\/127\.0\.0\.1:9\/ws: .*ECONNREFUSED/m)
  t.equal(code, 1)
})

t.test('rejects an invalid command line', async (t) => {
  const { code, stderr, stdout } = await load(t, ['--rooms', '0'])
  t.match(stderr, /^load: --rooms must be a whole number from 1 to 500, not "0"$/m)
  t.equal(stdout, '')
  t.equal(code, 2)
})
