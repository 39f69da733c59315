import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createSigner } from 'fast-jwt'
import type { RequestData, RequestType } from '../client/protocol.ts'
import { freePort } from '../test/support/redis.ts'
import { asFailure } from './load/failure.ts'
import { connect as connectUser } from './load/signalling.ts'

// Starts the servers, Redis and clients for the benchmarks.

const here = join(import.meta.dirname, '..')
const secret = 'a-secret-for-benchmarks-that-is-long-enough'
const sign = createSigner({ key: secret, algorithm: 'HS256', expiresIn: '1h' })

export interface Answer {
  /** `ok`, or the error code. */
  code: string
  ms: number
}

export interface Client {
  request (type: RequestType, data: object): Promise<Answer>
  /** @returns the number of events received so far */
  seen (): number
  close (): void
}

export interface ServerOptions {
  redisUrl: string
  /** The server's working directory and DATA_DIR. */
  folder: string
  /** Path of the checkout to run. Default: this checkout. */
  root?: string
  /** Additional environment variables. The variables take precedence over those that {@link startServer} sets. */
  env?: Record<string, string>
}

/** Stops the child processes and waits until they have exited. */
export async function stopAll (processes: readonly ChildProcess[]): Promise<void> {
  await Promise.all(processes.map(async (child) => {
    const gone = once(child, 'exit')
    if (child.kill('SIGKILL')) await gone
  }))
}

/**
 * Starts a Redis server without persistence.
 *
 * @returns its port
 */
export async function startRedis (folder: string, processes: ChildProcess[]): Promise<number> {
  const port = await freePort()
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder], { stdio: ['ignore', 'pipe', 'ignore'] })
  processes.push(child)
  await printed(child, /(Ready to accept connections)/)
  return port
}

/**
 * Starts the server in production mode. The benchmarks use this mode, because in all other modes the server validates
 * each event before sending the event.
 *
 * @returns ws://127.0.0.1:port/ws
 */
export async function startServer (processes: ChildProcess[], { redisUrl, folder, root = here, env = {} }: ServerOptions): Promise<string> {
  const child = spawn(process.execPath, [join(root, 'server.ts')], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: '0',
      LOG_LEVEL: 'info',
      JWT_SECRET: secret,
      REDIS_URL: redisUrl,
      DATA_DIR: folder,
      MEDIASOUP_LISTEN_IP: '127.0.0.1',
      MEDIASOUP_ANNOUNCED_IP: '127.0.0.1',
      MEDIASOUP_WORKERS: '1',
      // Disables the rate limits, because a benchmark sends more messages than any real user.
      WS_MESSAGES_PER_SECOND: '100000',
      MAX_CONNECTIONS_PER_USER: '1000000',
      JOINS_PER_MINUTE: '1000000',
      ROOMS_CREATED_PER_MINUTE: '1000000',
      USER_LOOKUPS_PER_MINUTE: '1000000',
      ROOM_UPDATES_PER_MINUTE: '1000000',
      MODERATION_COMMANDS_PER_MINUTE: '1000000',
      MEDIA_COMMANDS_PER_MINUTE: '1000000',
      SEAT_COMMANDS_PER_MINUTE: '1000000',
      SEAT_ADMIN_COMMANDS_PER_MINUTE: '1000000',
      WS_BYTES_PER_SECOND: '1000000000',
      WS_BYTES_BURST: '1000000000',
      WS_MESSAGES_BURST: '100000',
      PRESENCE_COALESCE_OVER: '0',
      ...env
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  processes.push(child)
  const address = await printed(child, /Server listening at http:\/\/([\d.]+:\d+)/)
  return `ws://${address}/ws`
}

/**
 * Waits until a process prints a line that matches `what`.
 *
 * @returns the first capture group
 */
async function printed (child: ChildProcess, what: RegExp): Promise<string> {
  let output = ''
  return await new Promise((resolve, reject) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = what.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`The process exited: ${output}`)))
  })
}

/** @returns a token for the user */
export const tokenOf = (id: string): string => sign({ id, name: id })

/** Connects a client as the user `id` and counts the events that the client receives. */
export async function connect (url: string, id: string): Promise<Client> {
  const signalling = await connectUser(url, tokenOf(id))
  let seen = 0
  signalling.onEvent(({ type }) => { if (type !== 'session:ready') seen++ })
  return {
    async request (type, data) {
      const begin = performance.now()
      const code = await signalling.request(type, data as RequestData<typeof type>).then(() => 'ok', (error: unknown) => asFailure(error).code)
      return { code, ms: performance.now() - begin }
    },
    seen: () => seen,
    close: () => signalling.close()
  }
}
