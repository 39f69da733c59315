import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fp from 'fastify-plugin'
import { Gauge } from 'prom-client'
import { withTimeout } from './errors/timeout.ts'

export interface HealthReport {
  ready: boolean
  /** The result for each dependency, by name. */
  checks: Record<string, { ok: boolean, error?: string }>
  /** Problems that an operator should fix although the server still works. */
  warnings: string[]
}

export interface Health {
  /** Checks this server and its dependencies. The results for the dependencies are cached for 50 ms. */
  check (): Promise<HealthReport>
}

declare module 'fastify' {
  interface FastifyInstance {
    health: Health
  }
}

declare module './hooks.ts' {
  interface KernelHooks {
    /**
     * Returns one check for each external dependency of the feature, by name. A check throws while its dependency is
     * down.
     */
    'health:checks': () => Record<string, () => Promise<void> | void>
  }
}

const freshMs = 50

/** How long a health report waits for the list of a feature's checks or warnings, in milliseconds. */
const hookMs = 2000
/** Timeout of one check, in milliseconds. */
const checkMs = 5000

/**
 * Size of the test file that the check writes to DATA_DIR, in bytes. Even a small database write may need several pages
 * of disk space.
 */
const probeBytes = 65_536

/** @throws if no file can be written: the disk is full or read-only, or the folder does not exist */
async function writeProbe (folder: string): Promise<void> {
  const path = join(folder, `.probe-${process.pid}`)
  try {
    await writeFile(path, Buffer.alloc(probeBytes))
  } finally {
    await rm(path, { force: true })
  }
}

/**
 * Reports whether this server is ready. A server is ready if its media workers, the store, pub/sub and its features'
 * dependencies work, and if the server is not draining.
 */
export default fp(async function health (app) {
  let latest: Promise<HealthReport['checks']> | undefined
  // eslint-disable-next-line no-new -- the registry keeps the metric
  new Gauge({
    name: 'flylive_ready',
    help: '1 if this server is ready, otherwise 0',
    registers: [app.metrics.registry],
    // Check here too, because Prometheus may be the only program that watches this server.
    async collect () { this.set(isGood(await results()) ? 1 : 0) }
  })

  async function look (): Promise<HealthReport['checks']> {
    const checks: HealthReport['checks'] = {}
    const note = async (name: string, check: () => unknown) => {
      try {
        await withTimeout(Promise.try(check), checkMs, () => { throw new Error(`no result within ${checkMs / 1000} s`) })
        checks[name] = { ok: true }
      } catch (error) {
        checks[name] = { ok: false, error: error instanceof Error ? error.message : String(error) }
      }
    }
    const ofFeatures = await app.hooks.gather('health:checks', hookMs) as Record<string, () => Promise<void> | void>
    await Promise.all([
      ...Object.entries(ofFeatures).map(([name, check]) => note(name, check)),
      note('store', () => app.store.check()),
      ...(app.store.kind === 'memory' ? [note('data', () => writeProbe(app.config.DATA_DIR))] : []),
      note('pubsub', () => app.bus.check()),
      note('workers', () => { if (!app.sfu.ready) throw new Error('no media worker is running') })
    ])
    return checks
  }

  async function results (): Promise<HealthReport['checks']> {
    if (!latest) {
      latest = look()
      latest.finally(() => setTimeout(() => { latest = undefined }, freshMs).unref())
    }
    const accepting = app.drain.draining ? { ok: false, error: 'the server is draining' } : { ok: true }
    return { ...await latest, accepting }
  }

  const isGood = (checks: HealthReport['checks']) => Object.values(checks).every(({ ok }) => ok)

  app.decorate('health', {
    async check () {
      const checks = await results()
      const ready = isGood(checks)
      const warnings = [...app.config.warnings, ...(await app.hooks.settle('health:warnings', hookMs)).flat()]
      return { ready, checks, warnings }
    }
  } satisfies Health)
}, { name: 'health', dependencies: ['config', 'store', 'cluster', 'hooks', 'sfu', 'drain', 'metrics'] })
