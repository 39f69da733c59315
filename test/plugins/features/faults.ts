import type { Test } from 'tap'
import { adminKey, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import type { TestClient } from '../../support/client.ts'
import { featureFolder } from '../../support/features.ts'
import { startServer } from '../../support/process.ts'
import type { ServerProcess } from '../../support/process.ts'
import { until } from '../../support/retry.ts'

// Runs features that each contain one programming mistake, while the members of a room chat. These mistakes must not
// affect the members.

/** A feature with one mistake. */
export interface Misbehaviour {
  name: string
  /** Code of the handler of `NAME:go`. */
  go?: string
  /** Code that runs when the feature starts. */
  start?: string
  /** The way in which the server must react to the mistake. */
  outcome: 'disabled' | 'late request' | 'failed hook' | 'late hook' | 'late job' | 'busy' | 'block'
}

const disabled = (name: string, go: string): Misbehaviour => ({ name, go, outcome: 'disabled' })

/**
 * Blocks the event loop for two seconds. The blocked thread sleeps most of the time, so that the test needs little CPU
 * time.
 */
const spin = 'for (const end = Date.now() + 2000; Date.now() < end;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)'

export const misbehaviours: readonly Misbehaviour[] = [
  disabled('timeout', "setTimeout(() => { throw new Error('a mistake') }, 5)"),
  disabled('interval', "setInterval(() => { throw new Error('a mistake') }, 5)"),
  disabled('immediate', "setImmediate(() => { throw new Error('a mistake') })"),
  disabled('tick', "process.nextTick(() => { throw new Error('a mistake') })"),
  disabled('microtask', "queueMicrotask(() => { throw new Error('a mistake') })"),
  disabled('nothing', 'setTimeout(() => { throw undefined }, 5)'),
  disabled('rejection', "Promise.reject(new Error('a mistake'))"),
  disabled('forgotten', "(async () => { await null; throw new Error('a mistake') })()"),
  disabled('kernel-call', 'app.kv.namespace(undefined).get({}).then(() => { throw new Unauthorized(1) })'),
  disabled('emitter', "setTimeout(() => new EventEmitter().emit('error', new Error('a mistake')), 5)"),
  disabled('socket', "connect({ host: '127.0.0.1', port: 1 })"),
  disabled('after-reply', "afterReply(() => setTimeout(() => { throw new Error('a mistake') }, 5))"),
  { name: 'start-interval', start: "setInterval(() => { throw new Error('a mistake') }, 20)", outcome: 'disabled' },
  { name: 'start-rejection', start: "Promise.reject(new Error('a mistake'))", outcome: 'disabled' },
  { name: 'handler-hangs', go: 'await new Promise(() => {})', outcome: 'late request' },
  { name: 'hook-throws', start: "app.hooks.on('room:join', () => { throw new Error('a mistake') })", outcome: 'failed hook' },
  { name: 'hook-rejects', start: "app.hooks.on('room:join', async () => { throw new Unauthorized('a mistake') })", outcome: 'failed hook' },
  { name: 'hook-hangs', start: "app.hooks.on('room:join', () => new Promise(() => {}))", outcome: 'late hook' },
  { name: 'job-hangs', start: "app.jobs.on('job-hangs', () => new Promise(() => {}))", go: "await app.jobs.schedule('job-hangs', 'k', 0)", outcome: 'late job' },
  { name: 'busy', go: 'const end = Date.now() + 30; while (Date.now() < end) { /* blocks */ }', outcome: 'busy' },
  { name: 'blocks', go: spin, outcome: 'block' },
  { name: 'blocks-later', go: `await new Promise((resolve) => setTimeout(resolve, 20)); ${spin}`, outcome: 'block' },
  { name: 'timer-blocks', go: `setTimeout(() => { ${spin} }, 20)`, outcome: 'block' }
]

const sourceOf = ({ name, go = '', start = '' }: Misbehaviour) => `import { EventEmitter } from 'node:events'
import { connect } from 'node:net'
import { defineFeature, Unauthorized, z } from 'flylive-audio-server/feature'
export const requests = { '${name}:go': { request: z.object({}), reply: z.object({}) } }
export default defineFeature(async function feature (app) {
  ${start}
  app.messages.on('${name}:go', { ...requests['${name}:go'], room: false }, async (_data, { afterReply }) => { ${go}; return {} })
}, { name: '${name}' })
`

/** The effects of one misbehaviour on the members and the server. */
export interface Noticed {
  name: string
  outcome: string
  /** Number of members' sockets that were closed. */
  closed: number
  /** Number of chat messages that members did not receive, summed over the members. */
  lost: number
  /** The slowest reply to a member, in milliseconds. */
  worstMs: number
}

/** A server with members in a room, and with faulty features that are disabled at first. */
export interface Scene {
  server: ServerProcess
  url: string
  members: readonly TestClient[]
  deadlineMs: number
  /** Enables a feature, makes the feature misbehave while the members chat, and disables the feature. */
  tryOut (misbehaviour: Misbehaviour): Promise<Noticed>
  admin (method: string, path: string): Promise<Record<string, unknown>>
}

export interface SceneOptions {
  members: number
  /** Time limit of a call into a feature, in seconds. */
  deadlineSeconds: number
  /** Path of a `server.ts`; by default, the `server.ts` of this checkout. */
  program?: string
  drainSeconds?: number
}

export async function createScene (t: Test, { members: count, deadlineSeconds, program, drainSeconds = 0 }: SceneOptions): Promise<Scene> {
  const folder = featureFolder(t)
  for (const one of misbehaviours) folder.write(one.name, { 'index.ts': sourceOf(one) })
  const server = startServer(t, { FEATURES: 'auth,chat,seats', FEATURES_PATH: folder.path, FEATURES_DEADLINE_SECONDS: String(deadlineSeconds), RATE_LIMIT_MESSAGES_PER_MINUTE: '10000', DRAIN_SECONDS: String(drainSeconds) }, undefined, program)
  const url = await server.url
  const members: TestClient[] = []
  const join = async (userId: number) => {
    const client = await connect(t, url, { token: tokenFor(userId) })
    await client.ok('room:join', { roomId: 'r1' })
    return client
  }
  for (let i = 1; i <= count; i++) members.push(await join(i))
  let closed = 0
  for (const { ws } of members) ws.once('close', () => { closed++ })

  async function admin (method: string, path: string): Promise<Record<string, unknown>> {
    const response = await fetch(url + path, { method, headers: { authorization: `Bearer ${adminKey}` } })
    return await response.json() as Record<string, unknown>
  }
  const infoOf = async (name: string) => (await admin('GET', '/admin/features') as { features: { name: string, state: string, generation: number, error: string | null }[] }).features.find((one) => one.name === name)
  const metric = async (line: string) => Number(new RegExp(`^${RegExp.escape(line)} (\\d+)$`, 'm').exec(await (await fetch(`${url}/metrics`)).text())?.[1] ?? 0)
  const logged = (name: string, text: string) => server.output().split('\n').some((line) => line.includes(`"feature":"${name}"`) && line.includes(text))

  /** Makes the members chat, one after another, until the returned function is called. */
  function chat (name: string) {
    const stopping = new AbortController()
    let worstMs = 0
    const sent: string[] = []
    const done = (async () => {
      for (let i = 0; !stopping.signal.aborted; i++) {
        const content = `${name} ${i}`
        const begin = performance.now()
        await (members[i % members.length] as TestClient).ok('chat:message', { content })
        worstMs = Math.max(worstMs, performance.now() - begin)
        sent.push(content)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })()
    return async () => {
      stopping.abort()
      await done
      let lost = 0
      for (const member of members) {
        if (member.ws.readyState !== member.ws.OPEN) continue
        await member.flush()
        const received = member.events.filter(({ type, data }) => type === 'chat:message' && String(data.content).startsWith(`${name} `)).map(({ data }) => String(data.content))
        lost += sent.filter((content) => !received.includes(content)).length
        member.events.length = 0
      }
      return { lost, worstMs: Math.round(worstMs) }
    }
  }

  /**
   * Causes three faults. After each of the first two faults, the server restarts the feature. After the third fault,
   * the server takes the feature out of service.
   */
  async function fail ({ name, go }: Misbehaviour, caller: TestClient): Promise<string> {
    const first = (await infoOf(name))?.generation ?? 0
    const calls = go === undefined ? 0 : 3
    for (let restarts = 0; restarts < calls; restarts++) {
      await until(async () => (await infoOf(name))?.generation === first + restarts)
      await caller.ok(`${name}:go`)
    }
    for (const member of members) await member.event('feature:disabled', (data) => data.name === name)
    const info = await infoOf(name)
    if (!/too many faults/.test(String(info?.error))) throw new Error(`${name}: ${JSON.stringify(info)}`)
    return `2 restarts, then ${info?.state}`
  }

  async function join2 (): Promise<{ client: TestClient, reply: Record<string, unknown>, ms: number }> {
    const client = await connect(t, url, { token: tokenFor(1000) })
    const begin = performance.now()
    const reply = await client.ok('room:join', { roomId: 'r1' })
    return { client, reply, ms: Math.round(performance.now() - begin) }
  }

  async function cause (misbehaviour: Misbehaviour, caller: TestClient): Promise<string> {
    const { name, outcome } = misbehaviour
    switch (outcome) {
      case 'disabled': return await fail(misbehaviour, caller)
      case 'late request': {
        const code = await caller.fails(`${name}:go`)
        return `${code}, ${await metric(`flylive_feature_call_failures_total{feature="${name}",call="request",reason="late"}`)} counted`
      }
      case 'failed hook': {
        const { client, reply } = await join2()
        await client.close()
        if (!('seats' in reply) || !('chatHistory' in reply)) throw new Error(JSON.stringify(reply))
        const failed = await metric(`flylive_feature_call_failures_total{feature="${name}",call="hook",reason="error"}`)
        await until(() => logged(name, 'its result is omitted'))
        return `left out of the join, logged, ${failed} counted`
      }
      case 'late hook': {
        const first = await join2()
        await first.client.close()
        const second = await join2()
        await second.client.close()
        if (!('seats' in first.reply) || !('chatHistory' in second.reply)) throw new Error(JSON.stringify(first.reply))
        const late = await metric(`flylive_feature_call_failures_total{feature="${name}",call="hook",reason="late"}`)
        return `left out of the joins (${first.ms} ms, then ${second.ms} ms), ${late} counted`
      }
      case 'late job': {
        await caller.ok(`${name}:go`)
        const late = await until(async () => await metric(`flylive_feature_call_failures_total{feature="${name}",call="job",reason="late"}`) || false)
        return `failed, ${late} counted`
      }
      case 'busy': {
        const callers = await Promise.all(Array.from({ length: 40 }, (_, i) => connect(t, url, { token: tokenFor(2000 + i) })))
        const blocks = () => metric(`flylive_feature_blocks_total{feature="${name}"}`)
        await until(async () => {
          const before = await blocks()
          // The server receives the requests together and runs no timer until all of these requests are handled.
          await Promise.all(callers.map((one) => one.ok(`${name}:go`)))
          // If the machine pauses during a call, the server reports this call.
          return await blocks() === before
        })
        for (const one of callers) await one.close()
        return 'handled without a report'
      }
      case 'block': {
        await until(async () => {
          await caller.ok(`${name}:go`)
          // On a busy machine, the watchdog thread may read the stack trace only after the block has ended.
          return await until(() => logged(name, 'a feature blocked the event loop') && logged(name, `"call":"request ${name}:go"`), 5000).catch(() => false)
        }, 60_000)
        return 'named in the log, with its call'
      }
    }
  }

  return {
    server,
    url,
    members,
    deadlineMs: deadlineSeconds * 1000,
    admin,
    async tryOut (misbehaviour) {
      const { name } = misbehaviour
      const before = closed
      const caller = await connect(t, url, { token: tokenFor(1001) })
      const stop = chat(name)
      await admin('POST', `/admin/features/${name}/enable`)
      const outcome = await cause(misbehaviour, caller)
      const { lost, worstMs } = await stop()
      if ((await infoOf(name))?.state !== 'disabled') await admin('POST', `/admin/features/${name}/disable`)
      await caller.close()
      return { name, outcome, closed: closed - before, lost, worstMs }
    }
  }
}

/** @returns a Markdown table */
export function tableOf (rows: readonly Noticed[]): string {
  return [
    '| Fault | What the server did | Sockets closed | Events lost | Worst reply |',
    '|---|---|---|---|---|',
    ...rows.map(({ name, outcome, closed, lost, worstMs }) => `| ${name} | ${outcome} | ${closed} | ${lost} | ${worstMs} ms |`)
  ].join('\n')
}
