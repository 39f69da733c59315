// Runs the demo's talkers in a separate process so that their CPU use and crashes do not affect the server.
// scripts/demo.ts starts this process and sends the options.
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSigner } from 'fast-jwt'
import { direct } from './director.ts'
import { createHost } from './host.ts'
import { rooms } from './script.ts'
import { createTalker } from './talker.ts'
import { createVoices } from './voice.ts'
import { readWav } from './wav.ts'

/** Options of the talkers' process. */
export interface Task {
  url: string
  /** Secret for signing the talkers' tokens; the demo has no backend that issues tokens. */
  secret: string
  /** Name of the main room. */
  room: string
  /** Number of talkers in the main room. */
  talkers: number
}

/** Interval between calls of a talker's `keep()`, in milliseconds. */
const keepMs = 2000

// Exit if the parent process has already exited.
if (process.connected !== true) process.exit(1)
for (const event of ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect']) process.once(event, () => process.exit(0))

const [task] = await once(process, 'message') as [Task]
// The server closes sessions whose token has expired, so the tokens must outlive the demo.
const sign = createSigner({ key: task.secret, algorithm: 'HS256', expiresIn: '7d' })
const folder = join(import.meta.dirname, 'speech')
const recordings = new Map(readdirSync(folder).map((file) => [file, readWav(readFileSync(join(folder, file)))]))
const voices = createVoices()

for (const [roomId, script] of rooms(task.room, task.talkers)) {
  const talkers = script.people.map((person) => createTalker({
    person, roomId, url: task.url, token: () => sign({ id: person.userId, name: person.name }), voices
  }))
  const host = createHost(talkers)
  // The talkers join one after another so that the owner joins first and takes the first seat.
  for (const talker of talkers) {
    await talker.keep()
    setInterval(() => { talker.keep() }, keepMs)
  }
  direct({ script, talkers, host, recordings })
}
process.send?.('ready')
