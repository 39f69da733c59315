import { join } from 'node:path'
import t from 'tap'
import { StartError } from '../../../config/error.ts'
import { build } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import { redisDatabase } from '../../support/redis.ts'

const failure = (t: Parameters<typeof build>[0], env: Record<string, string>) => build(t, { env: { FEATURES: 'auth', ...env } }).then(() => undefined, (error: unknown) => error)

async function warned (t: Parameters<typeof build>[0], env: Record<string, string>) {
  const lines: Record<string, unknown>[] = []
  const server = await build(t, { env: { FEATURES: 'auth', ...env }, log: (line) => lines.push(line) })
  return { server, isWarned: lines.some(({ code }) => code === 'DATA_DIR_IN_USE') }
}

t.test('a server without Redis logs that another server uses the same DATA_DIR', async (t) => {
  const DATA_DIR = t.testdir()
  const first = startServer(t, { FEATURES: 'auth', DATA_DIR })
  await first.url
  t.match(await warned(t, { DATA_DIR }), { isWarned: true })

  first.child.kill('SIGKILL')
  await first.exit
  const { server, isWarned } = await warned(t, { DATA_DIR })
  t.equal(isWarned, false, 'not after the other server was killed')
  t.match(await warned(t, { DATA_DIR }), { isWarned: true })
  await server.close()
  t.match(await warned(t, { DATA_DIR }), { isWarned: false }, 'nor after it was closed')
})

t.test('servers with Redis can use the same DATA_DIR', async (t) => {
  const env = { DATA_DIR: t.testdir(), REDIS_URL: await redisDatabase() }
  for (let n = 0; n < 2; n++) t.match(await warned(t, env), { isWarned: false })
})

t.test('if the server cannot use DATA_DIR, the error names the path', async (t) => {
  const folder = t.testdir({ file: '', broken: { 'kv.sqlite': 'x'.repeat(4096) } })
  t.match(await failure(t, { DATA_DIR: join(folder, 'file') }), { constructor: StartError, message: `Cannot write to DATA_DIR (${join(folder, 'file')}): EEXIST` })
  t.match(await failure(t, { DATA_DIR: join(folder, 'broken') }), { constructor: StartError, message: `Cannot use ${join(folder, 'broken', 'kv.sqlite')}: file is not a database` })
})
