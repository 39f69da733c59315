import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'
import type { TestRedis } from '../../support/redis.ts'

/** A way to Redis that can be made to hold back what a server says from a certain text on. */
export async function holding (t: Test, redis: TestRedis) {
  const open = new Set<Socket>()
  let wanted: RegExp | undefined
  let held: { chunk: Buffer, far: Socket }[] = []
  let came = Promise.withResolvers<void>()
  const server = createServer((near) => {
    const far = connect(redis.port, '127.0.0.1')
    for (const socket of [near, far]) {
      open.add(socket)
      socket.on('error', () => { /* close follows */ })
      socket.once('close', () => {
        open.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    far.pipe(near)
    near.on('data', (chunk: Buffer) => {
      if (!held.some((other) => other.far === far) && !wanted?.test(chunk.toString('latin1'))) return far.write(chunk)
      held.push({ chunk, far })
      came.resolve()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}/3`,
    /** @returns once that text has come and is held back, with all that follows it on its connection */
    hold (what: RegExp): Promise<void> {
      wanted = what
      came = Promise.withResolvers()
      return came.promise
    },
    /** Redis gets what it was to get. */
    release () {
      for (const { chunk, far } of held) far.write(chunk)
      held = []
      wanted = undefined
    },
    /** Redis never gets it: the connection breaks. */
    drop () {
      for (const { far } of held) far.destroy()
      held = []
      wanted = undefined
    }
  }
}
