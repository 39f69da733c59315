import { execFile } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { finished } from 'node:stream/promises'
import t from 'tap'
import { build } from '../../support/build.ts'
import { fragmentsOf, hlsClient, parsePlaylist } from '../../support/hls.ts'
import { speak } from '../../support/mix.ts'

// Broadcasts for an hour (or BROADCAST_MINUTES) and checks every segment of both renditions. Compares the segments'
// times with the monotonic clock.

const minutes = Number(process.env.BROADCAST_MINUTES ?? 60)
const hz = 1000
const run = promisify(execFile)
t.setTimeout((minutes + 5) * 60_000)
t.jobs = 2

const server = await build(t, { env: { FEATURES: 'auth,media,broadcast', MEDIASOUP_WORKERS: '1' } })
const owner = await server.connect(1)
await owner.ok('room:join', { roomId: 'r1' })
await owner.ok('broadcast:start')
await speak(t, server.app, 'r1', { hz, amplitude: 0.3 })
const { get, playlist } = hlsClient(`${server.url}/hls/r1`)
const folder = t.testdir({})
const until = performance.now() + minutes * 60_000

for (const [file, codec] of [['live.m3u8', 'aac'], ['opus.m3u8', 'opus']] as const) {
  t.test(codec, { buffered: true }, async (t) => {
    const path = join(folder, `${codec}.mp4`)
    const output = createWriteStream(path)
    let listed = await playlist(file)
    output.write((await get(`${codec}-init.mp4`)).body)
    let next = listed.last + 1
    let end: number | undefined
    let samples = 0
    let segments = 0
    /**
     * For each segment, the delay between the segment's end and the segment's appearance in a playlist, in
     * milliseconds. Two clocks with different starting points measure the delays, so only the differences between the
     * delays matter.
     */
    const lags: number[] = []
    const faults: string[] = []
    let retries = 0
    while (performance.now() < until) {
      const answer = await get(`${file}?_HLS_msn=${next + 1}&_HLS_part=0`)
      const at = performance.now()
      if (answer.status === 503) {
        // A status of 503 means that no new part arrived in time, because the machine was busy for several seconds.
        // Retry, as players do.
        retries++
        continue
      }
      if (answer.status !== 200) {
        faults.push(`${next}: status ${answer.status}`)
        continue
      }
      const text = String(answer.body)
      const now = parsePlaylist(text)
      if (now.first < listed.first || now.discontinuitySequence < listed.discontinuitySequence) faults.push(`${next}: a sequence number decreased`)
      listed = now
      if (segments > 5 && text.includes('#EXT-X-DISCONTINUITY\n')) faults.push(`${next}: a discontinuity`)
      const segment = now.segments[next - now.first]
      if (!segment) {
        faults.push(`${next}: not listed`)
        next = now.last
        continue
      }
      const { body } = await get(segment.uri)
      const parts = await Promise.all(now.parts.filter(({ uri }) => uri.startsWith(`${codec}-${next}.`)).map(async ({ uri, duration }) => ({ duration, ...await get(uri) })))
      if (!Buffer.concat(parts.map((part) => part.body)).equals(body)) faults.push(`${next}: the parts differ from the segment`)
      const fragments = fragmentsOf(body)
      fragments.forEach(({ start, duration }, i) => {
        if (end !== undefined && start !== end) faults.push(`${next}: a gap of ${start - end} samples`)
        if (Math.abs(duration / 48_000 - (parts[i]?.duration ?? 0)) > 1e-4) faults.push(`${next}: the duration of part ${i}`)
        end = start + duration
        samples += duration
      })
      const duration = fragments.reduce((sum, fragment) => sum + fragment.duration, 0) / 48_000
      if (Math.abs(duration - segment.duration) > 1e-4) faults.push(`${next}: EXTINF ${segment.duration}, contains ${duration}`)
      if (Math.round(duration) > now.targetDuration) faults.push(`${next}: longer than the target duration`)
      output.write(body)
      lags.push(at - (end ?? 0) / 48)
      segments++
      next++
    }
    output.end()
    await finished(output)
    t.strictSame(faults, [], 'no fault')
    t.ok(retries <= minutes / 20, `${retries} requests received 503`)
    t.ok(segments > minutes * 60 / 2.048 - 20, `${segments} segments`)
    // Compares the shortest delays at the beginning and at the end of the run, so that delays on a busy machine are not
    // mistaken for drift.
    const tenth = Math.ceil(lags.length / 10)
    const drift = Math.min(...lags.slice(-tenth)) - Math.min(...lags.slice(0, tenth))
    t.comment(`${codec}: ${segments} segments, drift ${drift.toFixed(1)} ms in ${minutes} min`)
    t.ok(Math.abs(drift) < 50, `drift ${drift} ms`)

    // ffprobe does not report the durations of Opus packets, but all packets have the same duration.
    const probe = await run('ffprobe', ['-v', 'error', '-show_entries', 'packet=pts', '-of', 'csv=p=0', path], { maxBuffer: 1e9 })
    t.equal(probe.stderr, '')
    const frame = codec === 'aac' ? 1024 : 960
    const times = probe.stdout.trim().split('\n').map((line) => Number.parseInt(line))
    t.equal(times.length * frame, samples, 'ffprobe finds all samples')
    t.ok(times.every((time, i) => i === 0 || time === (times[i - 1] ?? 0) + frame), 'there is no gap between packets')
    const decoded = await run('ffmpeg', ['-v', 'error', '-i', path, '-t', '30', '-ac', '1', '-f', 's16le', '-'], { encoding: 'buffer', maxBuffer: 1e9 })
    t.equal(String(decoded.stderr), '')
    // Use the median over 20 seconds, because the tone may be interrupted on a busy machine.
    const second = 48_000 * 2
    const found = Array.from({ length: 20 }, (_, i) => frequencyOf(decoded.stdout.subarray((i + 5) * second, (i + 6) * second))).sort((a, b) => a - b)
    t.ok(Math.abs((found[10] ?? NaN) - hz) < 1, `the tone: ${found[10]} Hz`)
  })
}

/** @returns the frequency of a tone, calculated from its zero crossings */
function frequencyOf (pcm: Buffer): number {
  const samples = new Int16Array(pcm.buffer.slice(pcm.byteOffset, pcm.byteOffset + pcm.length))
  let first: number | undefined
  let last = 0
  let crossings = 0
  for (let i = 1; i < samples.length; i++) {
    const [before = 0, after = 0] = [samples[i - 1], samples[i]]
    if (before >= 0 || after < 0) continue
    last = i - after / (after - before)
    first ??= last
    crossings++
  }
  return (crossings - 1) / ((last - (first ?? 0)) / 48_000)
}
