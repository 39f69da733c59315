import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { BlockList, isIPv6 } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { freePort } from '../support/redis.ts'
import { until } from '../support/retry.ts'

const run = promisify(execFile)
const read = (path: string) => readFileSync(join(import.meta.dirname, '..', '..', path), 'utf8')

const compose = read('docker-compose.yml')
/** Returns the lines of a service in docker-compose.yml. */
const serviceOf = (name: string) => new RegExp(`^  ${name}:\\n((?:    .*\\n|\\n)+)`, 'm').exec(compose)?.[1] ?? ''

t.test('containers have no capabilities and a read-only file system', async (t) => {
  for (const name of ['server', 'redis']) {
    const service = serviceOf(name)
    for (const line of ['    cap_drop: [ALL]', '    read_only: true', '    security_opt: ["no-new-privileges:true"]']) t.ok(service.includes(`${line}\n`), `${name}: ${line}`)
    t.notMatch(service, /privileged|cap_add|docker\.sock/)
  }
  t.match(serviceOf('server'), /REDIS_URL: redis:\/\/:\$\{REDIS_PASSWORD:\?/)
  t.notMatch(serviceOf('redis'), /^ {4}ports:/m, 'the port of Redis is not published')
})

t.test('the command of the Redis container requires the password', async (t) => {
  const [, text = ''] = /^ {6}- \|\n((?: {8}.*\n)+)/m.exec(serviceOf('redis')) ?? []
  const port = await freePort()
  const script = text.replaceAll(/^ {8}/gm, '').replaceAll('$$', '$').replace('redis-server -', `redis-server - --bind 127.0.0.1 --port ${port} --dir ${t.testdir({})}`)
  const child = spawn('sh', ['-c', script], { env: { PATH: process.env.PATH, REDIS_PASSWORD: 'secret0of0the0test' }, stdio: 'ignore' })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const ping = async (password?: string) => (await run('redis-cli', ['-p', String(port), 'ping'], { env: { PATH: process.env.PATH, ...(password === undefined ? {} : { REDISCLI_AUTH: password }) } }).catch((error: { stdout: string }) => error)).stdout.trim()
  await until(async () => await ping('secret0of0the0test') === 'PONG')
  t.match(await ping(), /NOAUTH/)
  const { stdout } = await run('ps', ['-o', 'args=', '-p', String(child.pid)])
  t.match(stdout, /^redis-server/, 'the shell is replaced by Redis, so that it receives signals')
  t.notMatch(stdout, 'secret0of0the0test')
})

t.test('the coturn example denies special networks and has quotas', async (t) => {
  const [config = ''] = /# \/etc\/turnserver\.conf[\s\S]*?```/.exec(read('docs/deployment.md')) ?? []
  // Even without the rules that deny all addresses, the configuration must deny the special networks.
  const ranges = [...config.matchAll(/^denied-peer-ip=(\S+?)-(\S+)$/gm)].map(([, from = '', to = '']) => [from, to] as const)
  const everything = ranges.filter(([from, to]) => (from === '0.0.0.0' && to === '255.255.255.255') || (from === '::' && to.startsWith('ffff')))
  t.equal(everything.length, 2, 'the example allows only the address of the audio server')
  // Skip the range of IPv4-mapped addresses, because `BlockList` would apply this range to all IPv4 addresses.
  const mapped = '::ffff:0:0'
  const denied = new BlockList()
  for (const [from, to] of ranges.filter((range) => !everything.includes(range) && range[0] !== mapped)) denied.addRange(from, to, isIPv6(from) ? 'ipv6' : 'ipv4')
  const special = [
    '0.0.0.1', '10.0.0.1', '10.255.255.255', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.168.1.1', '198.18.0.1', '224.0.0.1', '255.255.255.255',
    '::', '::1', '64:ff9b::a00:1', '100::1', '2001:db8::1', '2002:a00:1::', 'fc00::1', 'fd12:3456::1', 'fe80::1', 'febf::1', 'ff02::1'
  ]
  for (const address of special) t.ok(denied.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'), address)
  for (const address of ['8.8.8.8', '172.32.0.1', '192.169.0.1', '2606:4700::1111', '2a00:1450::1']) t.notOk(denied.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'), `${address} is public`)
  t.match(config, `\ndenied-peer-ip=${mapped}-::ffff:ffff:ffff\n`, 'IPv4-mapped addresses are denied')
  for (const option of ['user-quota', 'total-quota', 'max-bps', 'bps-capacity']) t.match(config, new RegExp(`^${option}=[1-9]\\d*$`, 'm'), option)
})
