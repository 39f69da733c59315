import { parentPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { Channel } from './channel.ts'
import type { MixInput } from './channel.ts'
import type { FromPackager, ToPackager } from './packager-messages.ts'

// The code of the packager thread. A server has one such thread, which handles all rooms that the server packages.

const main = parentPort as MessagePort
const send = (message: FromPackager, transfer: ArrayBuffer[] = []) => main.postMessage(message, transfer)
const channels = new Map<number, { channel: Channel, port?: MessagePort }>()

main.on('message', (message: ToPackager) => {
  const { channel: id } = message
  switch (message.type) {
    case 'open':
      channels.set(id, {
        channel: new Channel(message.startTime, {
          init: (codec, data) => send({ type: 'init', channel: id, codec, data }),
          part: (part) => send({ type: 'part', channel: id, part }, [part.data.buffer as ArrayBuffer]),
          failed: (error) => send({ type: 'failed', channel: id, message: String(error) })
        })
      })
      break
    case 'input': {
      const open = channels.get(id)
      if (!open) return message.port.close()
      open.port?.close()
      open.port = message.port
      message.port.on('message', (input: MixInput) => open.channel.add(input))
      message.port.on('close', () => { if (channels.get(id)?.port === message.port) send({ type: 'inputClosed', channel: id }) })
      break
    }
    case 'close': {
      const open = channels.get(id)
      channels.delete(id)
      open?.port?.close()
      open?.channel.close()
    }
  }
})
