import t from 'tap'
import { onBothStores, shortTimings } from '../../support/build.ts'
import { buildMortal } from '../../support/mortal.ts'
import { loseNothingAcknowledged } from './acknowledged.ts'

// The server ends as if its process was killed. acknowledged.long.ts kills a process.

onBothStores(t, 'acknowledged commands and calls survive the end of their server', async (t, store) => {
  await loseNothingAcknowledged(t, async (env) => {
    const { url, kill } = await buildMortal(t, { env, timings: shortTimings })
    return { url, kill: async () => kill() }
  }, store)
})
