import { setTimeout as delay } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { startBackend } from '../support/backend.ts'
import { expectTone, openBrowser, receptionOf, visit } from '../support/browser.ts'
import type { PersonBrowser, Reception } from '../support/browser.ts'
import { adminKey, build, tokenFor } from '../support/build.ts'
import { connect } from '../support/client.ts'
import type { TestClient } from '../support/client.ts'
import { clientSite, enterOn } from '../support/client-page.ts'
import { startServer } from '../support/process.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { until } from '../support/retry.ts'

// Two users talk to each other, and other users send messages and gifts. During the call, every feature is reloaded
// repeatedly; then some features are disabled and enabled. Reloads must not affect any client.

export interface Extent {
  /** Whether the server is a separate process, as in production. A server in the test's process starts much faster. */
  ownProcess: boolean
  /**
   * Whether the talkers use the stage. Otherwise, to save CPU time, the talkers use a page that contains only the
   * client.
   */
  onStage: boolean
  /** Number of rounds; each round reloads every feature once. */
  rounds: number
  /** Number of times that chat, gifts and reactions are disabled and enabled. */
  cycles: number
  /** Number of sockets in addition to those of the two talkers. */
  sockets: number
  /** Pause between a reply and the socket's next request, in milliseconds. */
  pauseMs: number
  /**
   * Maximum increase of the fraction of the audio that the browser conceals (because packets are late or lost),
   * compared with a call without reloads. Some increase is allowed because of other load on the machine.
   */
  margin: number
}

/** The features to disable and enable, each under one of its request types. */
const toggled: Readonly<Record<string, string>> = { 'chat:message': 'chat', 'gift:send': 'gifts', 'room:react': 'reactions' }
const peoplePerRoom = 30

export async function reloadDuringCall (t: Test, { ownProcess, onStage, rounds, cycles, sockets, pauseMs, margin }: Extent): Promise<void> {
  const redis = await startRedis(t)
  const backend = await startBackend(t, { redisUrl: redis.url })
  backend.everyRoom = () => 1
  const site = await clientSite(t)
  const { url, errors } = await (ownProcess ? startProcess : startHere)(t, {
    ...backend.env,
    REDIS_URL: redis.url,
    CORS_ORIGINS: site.origin,
    FEATURES: 'auth,media,seats,chat,gifts,reactions,auto-close,laravel-bridge,lobby,stage',
    RATE_LIMIT_MESSAGES_PER_MINUTE: '10000'
  })
  const admin = async (method: string, path: string): Promise<{ status: number, body: Record<string, unknown> }> => {
    const response = await fetch(url + path, { method, headers: { authorization: `Bearer ${adminKey}` } })
    const body = await response.json() as Record<string, unknown>
    // Retry later if the limit of the admin API (3,000 calls per minute) is reached.
    const { details } = (body.error ?? {}) as { details?: { retryAfterMs?: number } }
    if (response.status !== 429) return { status: response.status, body }
    await delay(details?.retryAfterMs ?? 1000)
    return await admin(method, path)
  }
  const { features } = (await admin('GET', '/admin/features')).body as unknown as { features: { name: string, state: string }[] }
  const names = features.filter(({ state }) => state === 'enabled').map(({ name }) => name)

  const [adasBrowser, bobsBrowser] = await Promise.all([openBrowser(t, 440), openBrowser(t, 1000)])
  const enter = async (browser: PersonBrowser, id: number, name: string) => {
    if (onStage) return await visit(t, browser, url, { name, room: 'room0' })
    const page = await site.open(browser)
    await enterOn(page, { url, roomId: 'room0', id, name, audio: { play: true } })
    await page.evaluate(async () => {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
      await window.flylive?.seats.takeFree()
      await window.flylive?.audio?.publish(stream.getAudioTracks()[0] as MediaStreamTrack)
    })
    return page
  }
  const pages: readonly [Page, Page] = [
    await enter(adasBrowser, 1, 'Ada'),
    await enter(bobsBrowser, 2, 'Bob')
  ]
  await Promise.all([expectTone(pages[1], 'Ada', 440), expectTone(pages[0], 'Bob', 1000)])

  const others = await crowd(t, url, sockets, pauseMs)
  const closed = async () => (await (await fetch(`${url}/metrics`)).text()).match(/^flylive_socket_closed_total\{.*$/gm)
  const closedBefore = await closed()
  const talk = others.begin()
  const what = (report: Awaited<ReturnType<typeof heardBetween>>) => `${report.packets} packets, ${report.lost} lost, ${report.concealed} of ${report.samples} samples concealed`

  // Measure the baseline: how much audio is concealed on this machine while nothing is reloaded.
  const control = await heardBetween(pages, () => delay(Math.min(20_000, 500 * rounds)))
  t.comment(`undisturbed: ${what(control)}`)

  const times: number[] = []
  const heap = async () => Number(/^nodejs_heap_size_used_bytes (\S+)/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1])
  const before = await heap()
  const disturbed = await heardBetween(pages, async () => {
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        const begin = performance.now()
        const { status, body } = await admin('POST', `/admin/features/${name}/reload`)
        times.push(performance.now() - begin)
        if (status !== 200) t.fail(`${name}: ${JSON.stringify(body)}`)
      }
    }
  })
  times.sort((a, b) => a - b)
  const percentile = (share: number) => Math.round(times[Math.floor(times.length * share)] ?? NaN)
  t.comment(`${times.length} reloads of ${names.join(', ')}: p50 ${percentile(0.5)} ms, p99 ${percentile(0.99)} ms; heap +${Math.round((await heap() - before) / times.length / 1024)} KiB per reload`)
  t.comment(`during reloads: ${what(disturbed)}`)
  t.equal(disturbed.lost, 0, 'no packet is lost')
  t.ok(disturbed.packets > 10 * rounds)
  t.ok(disturbed.concealed / disturbed.samples <= control.concealed / control.samples + margin, 'concealment stays within the margin')
  t.strictSame(talk.wrong(), [], 'every request has the expected outcome')

  const cycled = Object.values(toggled)
  t.strictSame(cycled.filter((name) => !names.includes(name)), [])
  const quiet = await heardBetween(pages, async () => {
    for (let cycle = 0; cycle < cycles; cycle++) {
      for (const action of ['disable', 'enable']) {
        talk.mayBeOff(true)
        const rejected = talk.rejected()
        for (const name of cycled) {
          const { status, body } = await admin('POST', `/admin/features/${name}/${action}`)
          if (status !== 200) t.fail(`${name}: ${JSON.stringify(body)}`)
        }
        if (action === 'enable') await others.once()
        else await until(() => talk.rejected().every((count, i) => count > (rejected[i] ?? 0)), 60_000)
      }
    }
  })
  t.comment(`${cycles} times disabled and enabled (${cycled.join(', ')}): ${what(quiet)}`)
  t.equal(quiet.lost, 0)
  t.ok(quiet.concealed / quiet.samples <= control.concealed / control.samples + margin)
  t.strictSame(talk.wrong(), [])
  talk.mayBeOff(false)
  await others.once()

  const answered = await talk.end()
  t.comment(`${sockets} sockets: ${Object.entries(answered).map(([outcome, count]) => `${count} ${outcome}`).join(', ')}`)
  t.strictSame(talk.wrong(), [], 'no request is rejected after the features are enabled')
  for (const type of Object.keys(toggled)) t.ok((answered[`${type} FEATURE_DISABLED`] ?? 0) >= cycles, `${type} is rejected while its feature is disabled`)
  t.equal(others.closed(), 0)
  t.same(await closed(), closedBefore, 'no socket is closed')
  await Promise.all([expectTone(pages[1], 'Ada', 440), expectTone(pages[0], 'Bob', 1000)])
  t.strictSame(errors(), [], 'no error is logged')
}

/** Ignores errors that report a duration, because on a busy machine, the event loop may be blocked. */
const isError = (line: Record<string, unknown>) => Number(line.level) >= 50 && !('ms' in line)

async function startHere (t: Test, env: Record<string, string>) {
  const lines: string[] = []
  const { url } = await build(t, { env, log: (line) => { if (isError(line)) lines.push(JSON.stringify(line)) } })
  return { url, errors: () => lines }
}

async function startProcess (t: Test, env: Record<string, string>) {
  const server = startServer(t, { ...env, HOST: '127.0.0.1', PORT: String(await freePort()) })
  const errors = () => server.output().split('\n').filter((line) => line.startsWith('{') && isError(JSON.parse(line) as Record<string, unknown>))
  return { url: await server.url, errors }
}

async function heardBetween (pages: readonly [Page, Page], happens: () => Promise<void>) {
  const look = async () => (await Promise.all([receptionOf(pages[0], 'Bob'), receptionOf(pages[1], 'Ada')])) as [Reception, Reception]
  const before = await look()
  await happens()
  const after = await look()
  const grown = (key: 'packetsReceived' | 'packetsLost' | 'concealedSamples' | 'totalSamplesReceived') =>
    after.reduce((sum, report, i) => sum + report[key] - (before[i] as Reception)[key], 0)
  return { packets: grown('packetsReceived'), lost: grown('packetsLost'), concealed: grown('concealedSamples'), samples: Math.max(1, grown('totalSamplesReceived')) }
}

/** Opens sockets that send messages and gifts and read the lobby, with a pause after each reply. */
async function crowd (t: Test, url: string, size: number, pauseMs: number) {
  const clients: TestClient[] = []
  let closed = 0
  for (let i = 0; i < size; i++) {
    const client = await connect(t, url, { token: tokenFor(i + 100) })
    client.ws.once('close', () => { closed++ })
    // Most clients join other rooms, because their messages would take a lot of CPU time on the talkers' pages.
    await client.ok('room:join', { roomId: i < 2 ? 'room0' : `room${1 + Math.floor(i / peoplePerRoom)}` })
    clients.push(client)
  }
  const requests = (i: number, turn: number): [type: string, data: Record<string, unknown>, outcomes: string[]] => {
    switch (turn % 6) {
      case 0: case 1: return ['chat:message', { content: `${turn} from ${i}` }, ['ok']]
      case 2: return ['user:getRoom', { userId: 100 + i }, ['ok']]
      case 3: return ['gift:send', { giftId: 1, recipientId: 100, quantity: 1 }, ['ok', 'RATE_LIMITED']]
      case 4: return ['seat:lock', { seatIndex: 0 }, ['FORBIDDEN']]
      default: return ['room:react', { emoji: '👍' }, ['ok', 'RATE_LIMITED']]
    }
  }
  let turns = 0
  return {
    closed: () => closed,
    /** Waits until as many new replies have arrived as there are sockets. */
    async once () {
      const from = turns
      await until(() => turns >= from + size, 60_000)
    },
    begin () {
      const outcomes: Record<string, number> = {}
      const wrong: string[] = []
      const state = { off: false, over: false }
      const talking = clients.map(async (client, i) => {
        await delay(pauseMs * Math.random())
        for (let turn = i; !state.over; turn++) {
          const [type, data, right] = requests(i, turn)
          const wasOff = state.off
          const reply = await client.request(type, data).catch((error: Error) => ({ ok: false as const, error: { code: error.message } }))
          // The test counts only replies, so discard events.
          client.events.length = 0
          const outcome = reply.ok ? 'ok' : reply.error.code
          outcomes[`${type} ${outcome}`] = (outcomes[`${type} ${outcome}`] ?? 0) + 1
          turns++
          const mayBeOff = (wasOff || state.off) && toggled[type] !== undefined
          if (!right.includes(outcome) && !(mayBeOff && outcome === 'FEATURE_DISABLED')) wrong.push(`${type}: ${outcome}`)
          await delay(pauseMs)
        }
      })
      return {
        wrong: () => wrong,
        /** @returns the number of FEATURE_DISABLED rejections per type in `toggled` */
        rejected: () => Object.keys(toggled).map((type) => outcomes[`${type} FEATURE_DISABLED`] ?? 0),
        mayBeOff (is: boolean) {
          state.off = is
        },
        async end () {
          state.over = true
          await Promise.all(talking)
          return outcomes
        }
      }
    }
  }
}
