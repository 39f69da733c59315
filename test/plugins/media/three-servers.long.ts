import t from 'tap'
import { namespacesMissing } from '../../support/namespaces.ts'
import { reloadable, reloadAll } from '../../support/reloads.ts'
import { cutLink, drainOne, heardAfterJoin, killOne, loseRedis, startThree } from './three-servers.ts'

// docs/measurements.md has the results.

const missing = namespacesMissing()

for (const inNamespaces of [false, true]) {
  t.test(inNamespaces ? 'in three network namespaces' : 'on one host', { skip: inNamespaces ? missing ?? false : false }, async (t) => {
    await t.test('a third server receives the speakers of two servers', async (t) => {
      const { heardMs, lost } = await heardAfterJoin(t, { inNamespaces })
      t.comment(`| heard after the join | ${heardMs} ms, ${lost} packets lost |`)
      t.ok(heardMs < 1000, `${heardMs} ms`)
      t.equal(lost, 0)
    })

    await t.test('clients of a killed server receive audio again through another server', async (t) => {
      const { heardMs, silenceMs, goneMs } = await killOne(t, await startThree(t, { inNamespaces }))
      t.comment(`| kill -9 | heard again after ${heardMs} ms, elsewhere at most ${silenceMs} ms without sound, voices gone after ${goneMs} ms |`)
      t.ok(heardMs <= 3000, `heard again after ${heardMs} ms`)
      t.ok(silenceMs < 200, `${silenceMs} ms without sound`)
      t.ok(goneMs <= 12_000, `gone after ${goneMs} ms`)
    })

    await t.test('clients of a drained server keep their seats and receive audio', async (t) => {
      const { silenceMs } = await drainOne(t, { inNamespaces })
      t.comment(`| drain | a listener moves and is without sound for at most ${silenceMs} ms |`)
      t.ok(silenceMs < 3000, `${silenceMs} ms`)
    })

    await t.test('reloading the mix, media and seats features does not interrupt listeners', async (t) => {
      const { servers } = await startThree(t, { inNamespaces, env: reloadable })
      const { reloads, voicesMs, mixMs, seatedMs, lost } = await reloadAll(t, servers.map(({ url }) => url), ['mix', 'media', 'seats'], 20)
      t.comment(`| reload | ${reloads} reloads, ${lost} packets lost; at most ${voicesMs} ms without sound with voices, ${mixMs} ms with the mix, ${seatedMs} ms for listeners who took and left seats |`)
      t.equal(lost, 0)
      for (const ms of [voicesMs, mixMs, seatedMs]) t.ok(ms < 200, `${ms} ms`)
    })

    await t.test('audio continues while Redis is down for 30 s', async (t) => {
      const { silenceMs, lost, heardMs } = await loseRedis(t, 30, { inNamespaces })
      t.comment(`| Redis away | ${lost} packets lost, at most ${silenceMs} ms without sound, a new voice heard ${heardMs} ms after the return |`)
      t.equal(lost, 0)
      t.ok(heardMs <= 2000, `a new voice after ${heardMs} ms`)
    })
  })
}

t.test('audio recovers after the network between two servers was down for 20 s', { skip: missing ?? false }, async (t) => {
  const { heardMs, silenceMs } = await cutLink(t, 20)
  t.comment(`| link down | heard again ${heardMs} ms after it is up; the other voice at most ${silenceMs} ms without sound |`)
  t.ok(heardMs <= 3000, `${heardMs} ms`)
})
