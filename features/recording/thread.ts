import { parentPort } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { Fault, FromRecorder, ToRecorder } from './thread-messages.ts'
import { ThreadRecording } from './thread-recording.ts'
import type { MixInput } from './thread-recording.ts'

// The recorder thread, which writes the files of all recordings on this server. The packets come directly from the
// mixer thread.

/** How often received packets are written to the files, in milliseconds. */
const writeMs = 100
/** How often progress is reported and free space is checked, in milliseconds. */
const reportMs = 500

const main = parentPort as MessagePort
const send = (message: FromRecorder) => main.postMessage(message)
const open = new Map<string, { recording: ThreadRecording, port?: MessagePort }>()

const fullCodes = ['ENOSPC', 'EDQUOT', 'EFBIG']
const faultOf = (error: unknown): Fault => fullCodes.includes((error as NodeJS.ErrnoException).code ?? '') ? 'disk_full' : 'failed'

function fail (id: string, fault: Fault, message: string): void {
  const entry = open.get(id)
  if (!entry) return
  open.delete(id)
  send({ type: 'fault', id, fault, message })
  entry.port?.close()
  entry.recording.close(true)
  send({ type: 'closed', id, files: entry.recording.files })
}

/** Runs an action on a recording. If the action fails, only this recording ends. */
function attempt (id: string, action: (recording: ThreadRecording) => void): void {
  const entry = open.get(id)
  if (!entry) return
  try {
    action(entry.recording)
  } catch (error) {
    fail(id, faultOf(error), String(error))
  }
}

function close (id: string): void {
  const entry = open.get(id)
  if (!entry) return
  attempt(id, (recording) => recording.close(false))
  if (!open.delete(id)) return
  entry.port?.close()
  send({ type: 'closed', id, files: entry.recording.files })
}

main.on('message', (message: ToRecorder) => {
  const { id } = message
  switch (message.type) {
    case 'open':
      try {
        open.set(id, { recording: new ThreadRecording(message.options) })
      } catch (error) {
        send({ type: 'fault', id, fault: faultOf(error), message: String(error) })
        send({ type: 'closed', id, files: [] })
      }
      break
    case 'input': {
      const entry = open.get(id)
      if (!entry) return message.port.close()
      entry.port?.close()
      entry.port = message.port
      message.port.on('message', (input: MixInput) => attempt(id, (recording) => recording.add(input)))
      message.port.on('close', () => { if (open.get(id)?.port === message.port) send({ type: 'inputClosed', id }) })
      break
    }
    case 'line':
      attempt(id, (recording) => recording.addLine(message.line))
      break
    case 'close':
      close(id)
  }
})

setInterval(() => {
  for (const id of [...open.keys()]) attempt(id, (recording) => recording.write())
}, writeMs)

setInterval(() => {
  for (const [id, { recording }] of [...open]) {
    attempt(id, () => {
      if (recording.isDiskFull()) fail(id, 'disk_full', 'The free disk space is below RECORDING_MIN_FREE_MB')
      else send({ type: 'progress', id, files: recording.files, timelineBytes: recording.timelineBytes })
    })
  }
}, reportMs)
