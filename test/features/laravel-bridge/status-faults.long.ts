import t from 'tap'
import { startBackend } from '../../support/backend.ts'
import { build, tokenFor } from '../../support/build.ts'
import { connect } from '../../support/client.ts'
import { startServer } from '../../support/process.ts'
import { freePort, startRedis } from '../../support/redis.ts'
import { until } from '../../support/retry.ts'
import { lastStatus as last } from './support.ts'

t.test('another server takes the job that a killed server had taken, after its lease', async (t) => {
  const redis = await startRedis(t)
  const backend = await startBackend(t)
  backend.everyRoom = () => 1
  const env = { ...backend.env, REDIS_URL: redis.url, EMPTY_ROOM_SECONDS: '1' }
  const server = await build(t, { env })
  const doomed = startServer(t, { ...env, PORT: String(await freePort()), HOST: '127.0.0.1', MEDIASOUP_WORKERS: '1' })
  const url = await doomed.url
  const [ada, bob, eve] = [await server.connect(1), await connect(t, url, { token: tokenFor(2) }), await connect(t, url, { token: tokenFor(3) })]
  await ada.ok('room:join', { roomId: '7' })
  await bob.ok('room:join', { roomId: '7' })
  await eve.ok('room:join', { roomId: '8' })
  await until(() => last(backend, '7')?.participant_count === 2 && last(backend, '8')?.participant_count === 1)
  backend.fault({ call: 'status', kind: 'hang' })
  await eve.ok('room:leave')
  doomed.child.kill('SIGKILL')
  await doomed.exit
  backend.mend()
  const told = () => last(backend, '7')?.participant_count === 1 && last(backend, '8')?.is_live === false
  // Its lease of the store ends after 10 s, that of a job it had taken after 60 s.
  await until(told, 90_000)
  t.match(last(backend, '7'), { is_live: true, participant_count: 1 })
  t.match(last(backend, '8'), { is_live: false, ended_at: String })
})
