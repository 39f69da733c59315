import { join } from 'node:path'
import { createDecoder } from 'fast-jwt'
import t from 'tap'
import { parseOptions, UsageError } from '../../bench/load/options.ts'
import { jwtSecret } from '../support/build.ts'

const valid = ['--secret', jwtSecret]

/** @returns the message of the UsageError */
function rejection (args: string[], env: NodeJS.ProcessEnv = {}): string {
  try {
    parseOptions(args, env)
  } catch (error) {
    if (error instanceof UsageError) return error.message
    throw error
  }
  return 'no error'
}

t.test('rejects each invalid option and states the valid values', async (t) => {
  for (const [name, max] of [['rooms', 500], ['speakers', 100], ['listeners', 5000], ['seconds', 3600], ['ramp', 1000]] as const) {
    const min = name === 'listeners' || name === 'speakers' ? 0 : 1
    for (const value of [String(min - 1), String(max + 1), '1.5', 'many', '']) {
      t.equal(rejection([...valid, `--${name}=${value}`]), `--${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(value)}`)
    }
  }
  t.equal(rejection([...valid, '--mode', 'music']), '--mode must be voices or mix, not "music"')
  t.match(rejection([...valid, '--url', 'audio.example.com']), /^--url must be an address such as https:\/\/audio\.example\.com, not "audio\.example\.com": /)
  t.match(rejection([...valid, '--url', 'ftp://audio.example.com']), /^--url .*The scheme ftp: is not http, https, ws or wss$/)
  t.equal(rejection([...valid, '--room', 'a room']), '--room must have 1 to 120 letters, digits and _ . : -')
  t.equal(rejection([...valid, '--claims', '[1]']), '--claims must be a JSON object, not "[1]"')
  t.equal(rejection([...valid, '--claims', '{']), '--claims must be a JSON object, not "{"')
  t.equal(rejection([...valid, '--rooms', '100', '--listeners', '1000']), '--rooms × (--speakers + --listeners) is 100200; at most 10000 participants are allowed')
  t.equal(rejection([...valid, '--speakers', '0', '--listeners', '0']), '--speakers and --listeners are both 0')
  t.match(rejection([...valid, '--speed', '2']), /Unknown option '--speed'/)
  t.match(rejection([...valid, '--rooms']), /Option '--rooms <value>' argument missing/)
  t.match(rejection([...valid, 'extra']), /Unexpected argument 'extra'/)
})

t.test('rejects missing and contradictory token options', async (t) => {
  const folder = t.testdir({ tokens: 'a\n\nb\n' })
  const file = join(folder, 'tokens')
  t.equal(rejection([]), '--secret, the variable JWT_SECRET, or --tokens is required')
  t.equal(rejection(['--secret', 'short']), '--secret must have at least 32 characters, like JWT_SECRET on the server')
  t.equal(rejection([...valid, '--tokens', file]), 'Use either --secret or --tokens')
  t.equal(rejection(['--tokens', file, '--speakers', '1', '--listeners', '2']), `${file} has 2 tokens, but there are 3 participants`)
  t.match(rejection(['--tokens', join(folder, 'none')]), /^cannot read --tokens: ENOENT/)
})

t.test('reads tokens from a file, or signs its own', async (t) => {
  const file = join(t.testdir({ tokens: 'a\nb\n' }), 'tokens')
  t.equal(parseOptions(['--tokens', file, '--speakers', '1', '--listeners', '1'], {})?.load.tokenOf(1), 'b')
  const signed = parseOptions(['--claims', '{"aud":"audio"}'], { JWT_SECRET: jwtSecret })
  const claims = createDecoder()(signed?.load.tokenOf(0) ?? '') as Record<string, unknown>
  t.match(claims, { id: /^load-\w+-1$/, name: 'Load 1', aud: 'audio' })
  t.match(signed?.load, { url: 'http://127.0.0.1:3030', rooms: 1, speakers: 2, listeners: 10, mode: 'mix', seconds: 30, ramp: 20, room: /^load-\w+$/ })
})

t.test('--help returns no options', async (t) => {
  t.equal(parseOptions(['--help'], {}), undefined)
})
