import fp from 'fastify-plugin'
import { Draining, NotFound, Overloaded, withDetails } from './errors/codes.ts'

/**
 * `ready`: the server accepts users. `cordon`: the server creates no rooms. `drain`: the server moves its users to
 * other servers.
 */
export type NodeState = 'ready' | 'cordon' | 'drain'

/** A server's report about itself. */
export interface NodeReport {
  /** Unique id of the process; differs on each start. */
  nodeId: string
  /** NODE_ID. */
  name: string
  state: NodeState
  connections: number
  maxConnections: number
  rooms: number
  /** Number of mediasoup consumers of all clients on this server. */
  consumers: number
  /** CPU load of each media worker since the last report; 1 means one full core. */
  workersCpu: number[]
  /** UDP ports for audio to and from other servers: how many are in use, and how many are configured. */
  relayPorts: { used: number, total: number }
  /** Whether the server rejects new connections because of its limits. */
  isFull: boolean
}

/** The servers of the deployment. */
export interface Nodes {
  /**
   * This server's report, followed by the latest reports of the other servers. The list does not include servers that
   * no longer send reports.
   */
  list (): NodeReport[]
  /** Whether this server rejects new connections because of its limits. */
  readonly isFull: boolean
  /** Whether this server is in the `cordon` state. */
  readonly isCordoned: boolean
  /** The URLs (see NODE_URLS) of the other servers that accept users. The least loaded server comes first. */
  urls (): string[]
  /** Sends a report to the other servers immediately, for example after this server's state changes. */
  report (): void
  /** @returns an OVERLOADED or DRAINING error with the retry delay and, if it is known, the URL of another server */
  refusal (code: 'OVERLOADED' | 'DRAINING'): Error
  /**
   * Changes a server's state.
   *
   * @param node the server's nodeId or NODE_ID
   * @param drainSeconds for the `drain` state: how long users have to leave the server, in seconds
   * @throws NOT_FOUND if there is no such server, UNAVAILABLE if the server does not answer
   */
  change (node: string, state: NodeState, drainSeconds?: number): Promise<{ before: NodeState, node: NodeReport }>
}

declare module 'fastify' {
  interface FastifyInstance {
    nodes: Nodes
  }
}

declare module './cluster/messages.ts' {
  interface ClusterMessages {
    'node:report': NodeReport
    /** A server has started, or may have missed messages. The other servers reply with their reports. */
    'node:hello': { nodeId: string }
    'node:gone': { nodeId: string }
  }
  interface ClusterRequests {
    'node:change': { data: { state: NodeState, drainSeconds: number }, reply: { before: NodeState, node: NodeReport } }
  }
}

/** A server that fails to send this many reports in a row is considered gone. */
const missedReports = 3
/** How long rejected clients should wait before they retry, in milliseconds. */
const retryAfterMs = 5000
const requestMs = 3000

/** Load of a server, 0 to 1: the higher of its connection load and its media worker load. */
const loadOf = ({ connections, maxConnections, workersCpu }: NodeReport) => Math.max(connections / maxConnections, averageOf(workersCpu))

function averageOf (values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Publishes this server's load and state, and stores the other servers' reports. */
export default fp(async function nodes (app) {
  const { bus, cluster, config, log, metrics, nodeId, timings } = app
  const others = new Map<string, { report: NodeReport, at: number }>()
  const cpu = new Map<number, { at: number, usedMs: number, share: number }>()
  let cordoned = false

  const state = (): NodeState => app.drain.draining ? 'drain' : cordoned ? 'cordon' : 'ready'
  const workersCpu = () => [...cpu.entries()].toSorted(([a], [b]) => a - b).map(([, { share }]) => share)
  const isFull = () => app.sockets.size >= config.MAX_CONNECTIONS ||
    (config.MAX_WORKERS_CPU_PERCENT !== undefined && averageOf(workersCpu()) * 100 >= config.MAX_WORKERS_CPU_PERCENT)

  function own (): NodeReport {
    const { consumers, relayPorts } = app.sfu.load()
    return {
      nodeId,
      name: config.NODE_ID,
      state: state(),
      connections: app.sockets.size,
      maxConnections: config.MAX_CONNECTIONS,
      rooms: app.rooms.size,
      consumers,
      workersCpu: workersCpu(),
      relayPorts,
      isFull: isFull()
    }
  }

  async function measure (): Promise<void> {
    const at = performance.now()
    const workers = await app.sfu.workersCpuMs()
    for (const index of cpu.keys()) if (!workers.has(index)) cpu.delete(index)
    for (const [index, usedMs] of workers) {
      const before = cpu.get(index)
      // The CPU time of a worker that replaces a dead one starts at 0.
      const share = before && usedMs >= before.usedMs ? (usedMs - before.usedMs) / (at - before.at) : 0
      cpu.set(index, { at, usedMs, share: Math.round(share * 1000) / 1000 })
    }
  }

  const publish = () => { cluster.send('node:report', own()) }

  async function report (): Promise<void> {
    await measure().catch((err: unknown) => log.debug({ err }, 'failed to read the CPU use of the media workers'))
    publish()
    count()
  }

  function alive (): NodeReport[] {
    const oldest = performance.now() - missedReports * timings.nodeReportMs
    for (const [id, { at }] of others) if (at < oldest) others.delete(id)
    return [...others.values()].map(({ report }) => report)
  }

  const list = () => [own(), ...alive().toSorted((a, b) => a.name < b.name ? -1 : 1)]

  const known = metrics.gauge('flylive_nodes', 'Servers in the deployment, including this one, by state', ['state'])
  const workerCpu = metrics.gauge('flylive_mediasoup_worker_cpu_ratio', 'CPU use per media worker; 1 means one full core', ['worker'])
  function count (): void {
    const all = list()
    for (const one of ['ready', 'cordon', 'drain'] as const) known.set({ state: one }, all.filter(({ state }) => state === one).length)
    workerCpu.reset()
    for (const [worker, { share }] of cpu) workerCpu.set({ worker }, share)
  }
  known.set({ state: 'ready' }, 1)

  cluster.on('node:report', (report) => {
    if (report.nodeId !== nodeId) others.set(report.nodeId, { report, at: performance.now() })
  })
  cluster.on('node:hello', (from) => { if (from.nodeId !== nodeId) publish() })
  cluster.on('node:gone', (from) => { others.delete(from.nodeId) })
  cluster.answer('node:change', ({ state: wanted, drainSeconds }) => {
    const before = state()
    cordoned = wanted === 'cordon'
    if (wanted === 'drain') app.drain.begin(drainSeconds)
    else app.drain.cancel()
    log.warn({ before, after: state() }, 'server state changed')
    publish()
    return { before, node: own() }
  })

  const urlOf = ({ nodeId: id, name }: NodeReport) => config.NODE_URLS.find(([node]) => node === id || node === name)?.[1]
  const urls = () => alive().filter(({ state, isFull }) => state === 'ready' && !isFull)
    .toSorted((a, b) => loadOf(a) - loadOf(b)).map(urlOf).filter((url) => url !== undefined)

  app.decorate('nodes', {
    list,
    urls,
    report: publish,
    get isFull () {
      return isFull()
    },
    get isCordoned () {
      return cordoned
    },
    refusal (code) {
      const [url] = urls()
      return withDetails(code === 'DRAINING' ? new Draining() : new Overloaded(), { retryAfterMs, ...(url === undefined ? {} : { url }) })
    },
    async change (node, wanted, drainSeconds = config.DRAIN_SECONDS) {
      const found = list().find((one) => one.nodeId === node) ?? list().find((one) => one.name === node)
      if (!found) throw new NotFound(`The server ${node}`)
      const answer = await cluster.ask(found.nodeId, 'node:change', { state: wanted, drainSeconds }, requestMs)
      if (found.nodeId !== nodeId) others.set(found.nodeId, { report: answer.node, at: performance.now() })
      return answer
    }
  } satisfies Nodes)

  app.addHook('onReady', async () => {
    cluster.send('node:hello', { nodeId })
    await report()
  })
  bus.onHealed(() => { cluster.send('node:hello', { nodeId }) })
  const timer = setInterval(() => { report() }, timings.nodeReportMs).unref()
  app.addHook('preClose', async () => {
    clearInterval(timer)
    await cluster.send('node:gone', { nodeId })
  })
}, { name: 'nodes', dependencies: ['config', 'timings', 'metrics', 'cluster', 'sockets', 'rooms', 'sfu', 'drain'] })
