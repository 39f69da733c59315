import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { onBothStores } from '../../support/build.ts'
import { startServer } from '../../support/process.ts'
import { loseNothingAcknowledged } from './acknowledged.ts'

// Repeatedly kills a server process with SIGKILL.

const rounds = 10

for (let round = 1; round <= rounds; round++) {
  onBothStores(t, `acknowledged commands and calls survive kill -9, round ${round}`, async (t, store) => {
    const folder = mkdtempSync(join(tmpdir(), 'flylive-acknowledged-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    await loseNothingAcknowledged(t, async (chosen) => {
      const env = { ...chosen, DATA_DIR: folder }
      const { child, exit, url } = startServer(t, env, folder)
      return {
        url: await url,
        async kill () {
          child.kill('SIGKILL')
          await exit
          return env
        }
      }
    }, store)
  })
}
