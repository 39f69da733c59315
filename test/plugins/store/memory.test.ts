import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { createMemoryStore } from '../../../plugins/store/memory.ts'
import { codeOf, joining, recordOf, storeContract } from '../../contracts/store.ts'
import { storeDocumentsContract } from '../../contracts/store-documents.ts'
import { storeListsContract } from '../../contracts/store-lists.ts'

const modulePath = pathToFileURL(join(import.meta.dirname, '../../../plugins/store/memory.ts')).href

for (const contract of [storeContract, storeDocumentsContract, storeListsContract]) {
  contract(t, async (t) => {
    const store = createMemoryStore(t.testdir())
    t.teardown(() => store.close())
    return store
  })
}

t.test('what must survive a crash is there after kill -9', async (t) => {
  const folder = t.testdir()
  const later = Date.now() + 3_600_000
  // It says when the calls have returned, and is killed in the next moment.
  const program = `
    import { createMemoryStore } from ${JSON.stringify(modulePath)}
    const store = createMemoryStore(${JSON.stringify(folder)})
    for (let i = 0; i < 200; i++) await store.setMark('mark' + i, ${later})
    await store.setMark('over soon', Date.now() + 1)
    await store.ban('r1', '2', ${later})
    await store.ban('r1', '3', ${later})
    await store.unban('r1', '3')
    await store.setNote('b', 'k', 'noted')
    await store.setNote('b', 'gone', 'noted')
    await store.setNote('b', 'gone', undefined)
    process.stdout.write('acknowledged')
    setInterval(() => {}, 1000)
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  t.equal(String((await once(child.stdout, 'data'))[0]), 'acknowledged')
  child.kill('SIGKILL')
  await once(child, 'exit')

  const store = createMemoryStore(folder)
  t.teardown(() => store.close())
  const keys = Array.from({ length: 200 }, (_, i) => `mark${i}`)
  t.ok((await store.hasMarks(keys)).every(Boolean))
  t.same(await store.hasMarks(['over soon']), [false])
  await t.rejects(store.join(joining('r1', 2)), { code: 'BANNED', details: { until: later } })
  t.equal(await codeOf(store.join(joining('r1', 3))), 'ok')
  t.equal(await store.getNote('b', 'k'), 'noted')
  t.same(await store.listNotes('b'), ['k'])
})

t.test('it is the only server', async (t) => {
  const store = createMemoryStore(t.testdir())
  t.teardown(() => store.close())
  await store.join(joining('r1', 1))
  t.same(await store.listNodeRooms('any'), [])
  t.same(await store.replaceShare('any', { room: recordOf('r1'), members: [], documents: new Map() }), { joined: [], left: [], count: 1, documents: new Map() })
  t.same(await store.dropShare('any', 'r1'), { joined: [], left: [], count: 1 })
  t.match(await store.getRoom('r1'), { participantCount: 1 })
})
