import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import t from 'tap'
import { build } from '../support/build.ts'
import { openBrowser } from '../support/browser.ts'
import { clientSite, enterOn } from '../support/client-page.ts'
import { speak } from '../support/mix.ts'
import { until } from '../support/retry.ts'

// Compares the CPU time that Chromium needs to play ten separate voices with the CPU time to play one mix of them. One
// run measures both alternately.

t.setTimeout(600_000)

const speakers = 10
const rounds = 4
const measureMs = 15_000
const settleMs = 3000

/** @returns the CPU time that all Chromium processes of this test have used so far, in milliseconds */
function chromiumCpuMs (): number {
  const parents = new Map<number, number>()
  const times = new Map<number, number>()
  for (const name of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')
      parents.set(Number(name), Number(fields[1]))
      // User and system time, in ticks of 10 ms.
      if (/chrom|headless/.test(readlinkSync(`/proc/${name}/exe`))) times.set(Number(name), (Number(fields[11]) + Number(fields[12])) * 10)
    } catch { /* The process has ended, or belongs to another user. */ }
  }
  const isOurs = (pid: number): boolean => pid === process.pid || (pid > 1 && isOurs(parents.get(pid) ?? 0))
  return [...times].filter(([pid]) => isOurs(pid)).reduce((sum, [, ms]) => sum + ms, 0)
}

const site = await clientSite(t)
const [server, browser] = await Promise.all([
  build(t, { env: { FEATURES: 'auth,media,mix', CORS_ORIGINS: site.origin } }),
  openBrowser(t, 440)
])
const page = await site.open(browser)
await enterOn(page, { url: server.url, roomId: 'r1', id: 1, audio: { play: true, receive: 'voices' } })
for (let i = 0; i < speakers; i++) await speak(t, server.app, 'r1', { hz: 300 + 150 * i, amplitude: 0.05 + 0.01 * i })

const used: Record<string, number> = { nothing: 0, voices: 0, mix: 0 }
for (let round = 0; round < rounds; round++) {
  for (const [mode, tracks] of [['nothing', 0], ['voices', speakers], ['mix', 1]] as const) {
    await page.evaluate((mode) => window.flylive?.audio?.setReceive(mode === 'nothing' ? false : mode), mode)
    await until(() => page.evaluate((tracks) => window.flylive?.audio?.heard.length === tracks, tracks))
    await page.waitForTimeout(settleMs)
    const before = chromiumCpuMs()
    await page.waitForTimeout(measureMs)
    used[mode] = (used[mode] ?? 0) + chromiumCpuMs() - before
  }
}
const perSecond = Object.fromEntries(Object.entries(used).map(([mode, ms]) => [mode, Math.round(ms / (rounds * measureMs / 1000) * 10) / 10]))
t.comment(`CPU of Chromium per second of audio, in ms: ${JSON.stringify(perSecond)}`)
const ratio = (used.mix ?? NaN) / (used.voices ?? NaN)
t.ok(ratio <= 0.5, `mix ÷ ${speakers} voices: ${ratio.toFixed(2)}`)
