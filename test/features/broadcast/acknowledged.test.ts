import t from 'tap'
import { onBothStores, shortTimings } from '../../support/build.ts'
import { buildMortal } from '../../support/mortal.ts'
import { loseNothingAcknowledged } from './acknowledged.ts'

// Simulates a killed server in this process. acknowledged.long.ts kills a separate process.

onBothStores(t, 'acknowledged commands and calls survive the loss of their server', async (t, store) => {
  await loseNothingAcknowledged(t, async (env) => {
    const { url, kill } = await buildMortal(t, { env, timings: shortTimings })
    return { url, kill: async () => kill() }
  }, store)
})
