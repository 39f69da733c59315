import { Worker } from 'node:worker_threads'
import type { RtpCommand, RtpEvent, VoicePacket } from './rtp-messages.ts'

/** The thread that exchanges RTP with the media workers. The thread starts when it is first used. */
export interface Rtp {
  /**
   * Receives the packets that contain or closely follow speech. The running generation of the feature sets this
   * function.
   */
  receive: (packet: VoicePacket) => void
  /** @returns the UDP port on 127.0.0.1 that receives packets */
  port (): Promise<number>
  command (command: RtpCommand): void
  close (): Promise<void>
}

/** @param failed called if the thread fails */
export function createRtp (failed: (error: Error) => void): Rtp {
  let started: { worker: Worker, port: Promise<number> } | undefined

  function start () {
    const worker = new Worker(new URL('./rtp-worker.ts', import.meta.url.replace(/\?.*/, '')), { execArgv: [] })
    worker.unref()
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    promise.catch(() => { /* Callers of `port` receive the error. */ })
    worker.on('message', (event: RtpEvent) => {
      if ('port' in event) resolve(event.port)
      else rtp.receive(event)
    })
    worker.on('error', (error) => {
      started = undefined
      reject(error)
      failed(error)
    })
    return { worker, port: promise }
  }

  const rtp: Rtp = {
    receive () {},
    async port () {
      started ??= start()
      return await started.port
    },
    command (command) {
      started ??= start()
      started.worker.postMessage(command)
    },
    async close () {
      await started?.worker.terminate()
    }
  }
  return rtp
}
