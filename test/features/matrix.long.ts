import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

// Disables each feature in turn. All tests that do not need the feature must still pass. Without auth, no test can
// connect; matrix.test.ts covers this case.

const root = join(import.meta.dirname, '..', '..')
const features = readdirSync(join(root, 'features')).filter((name) => name !== 'auth').sort()

/** By test file, the features that the file needs in addition to the feature under test. */
const alsoNeed: Record<string, readonly string[]> = {
  'test/client/node-audio.test.ts': ['media'],
  'test/client/seats.test.ts': ['seats'],
  'test/contract/backend-away.test.ts': ['auto-close', 'chat', 'gifts', 'laravel-bridge', 'media', 'seats'],
  'test/contract/bad-input.test.ts': ['media'],
  'test/contract/bad-media.test.ts': ['media'],
  'test/contract/eviction.test.ts': ['auto-close', 'chat', 'media'],
  'test/contract/replies.test.ts': ['media'],
  'test/contract/room-access.test.ts': ['media', 'seats'],
  'test/contract/rooms.test.ts': ['auto-close', 'media'],
  'test/features/auth/store-down.test.ts': ['media'],
  'test/features/laravel-bridge/removals.test.ts': ['seats'],
  'test/features/laravel-bridge/status-faults.test.ts': ['auto-close'],
  'test/features/laravel-bridge/status.test.ts': ['auto-close'],
  'test/features/push-to-talk/managed.test.ts': ['chat', 'lobby', 'media', 'mix', 'moderation', 'seats', 'socket-io'],
  'test/features/push-to-talk/native.test.ts': ['media'],
  'test/features/push-to-talk/radios.test.ts': ['lobby', 'media', 'seats'],
  'test/features/seats/admin.test.ts': ['media'],
  'test/features/seats/audio.test.ts': ['media'],
  'test/features/seats/grace.test.ts': ['media'],
  'test/features/seats/join.test.ts': ['media'],
  'test/features/seats/mutes.test.ts': ['media'],
  'test/features/seats/requests.test.ts': ['laravel-bridge'],
  'test/features/seats/two-servers.test.ts': ['media'],
  'test/features/whip/simple-whip-client.test.ts': ['media'],
  'test/features/whip/whip.test.ts': ['media', 'seats']
}

/** A test file that takes longer is killed, and counts as failed. */
const fileTimeoutMs = 180_000

const suites = globSync('test/{client,contract,features}/**/*.test.ts', { cwd: root })
  .filter((file) => !file.endsWith('matrix.test.ts'))
  .sort()

const needs = (file: string): readonly string[] => [
  ...features.filter((name) => file.startsWith(`test/features/${name}/`)),
  ...alsoNeed[file] ?? []
]

for (const without of features) {
  if (process.env.ONLY !== undefined && process.env.ONLY !== without) continue
  t.test(`without ${without}`, async (t) => {
    const files = suites.filter((file) => !needs(file).includes(without))
    let checks = 0
    const next = async (): Promise<void> => {
      const file = files.shift()
      if (file === undefined) return
      const { passed, output } = await run(file, without)
      checks += passed
      t.equal(output, '', `${file}: ${passed} passed`)
      await next()
    }
    await Promise.all([next(), next()])
    t.comment(`${checks} checks`)
  })
}

/** @returns the number of passed checks, and the output if the file failed (otherwise an empty string) */
async function run (file: string, without: string): Promise<{ passed: number, output: string }> {
  const child = spawn(process.execPath, [file], { cwd: root, env: { ...process.env, TEST_WITHOUT: without }, stdio: ['ignore', 'pipe', 'pipe'], timeout: fileTimeoutMs, killSignal: 'SIGKILL' })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { output += String(chunk) })
  const [code] = await once(child, 'close')
  const passed = output.match(/^ *ok /gm)?.length ?? 0
  return { passed, output: code === 0 && passed > 0 ? '' : output.split('\n').filter((line) => /not ok|Error|code:|message/.test(line)).join('\n') || output }
}
