import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { mock } from 'node:test'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { createMemoryKeyValue } from '../../../plugins/kv/memory.ts'
import { createMemoryStore } from '../../../plugins/store/memory/index.ts'
import { accessDocument } from '../../../plugins/store/types.ts'
import type { RoomAccess } from '../../../plugins/store/types.ts'
import { codeOf, joining, recordOf, storeContract } from '../../contracts/store.ts'
import { storeDocumentsContract } from '../../contracts/store-documents.ts'
import { storeListsContract } from '../../contracts/store-lists.ts'

const url = (path: string) => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../../plugins', path)).href)

async function storeIn (t: Test, folder: string) {
  const kv = createMemoryKeyValue(folder)
  t.teardown(() => kv.close())
  return { kv, store: await createMemoryStore(kv) }
}

for (const contract of [storeContract, storeDocumentsContract, storeListsContract]) {
  contract(t, async (t) => {
    return (await storeIn(t, t.testdir())).store
  })
}

t.test('durable data survives kill -9', async (t) => {
  const folder = t.testdir()
  const later = Date.now() + 3_600_000
  // The program prints a line once all calls have returned. The test then kills the program immediately.
  const program = `
    import { createMemoryKeyValue } from ${url('kv/memory.ts')}
    import { createMemoryStore } from ${url('store/memory/index.ts')}
    const kv = createMemoryKeyValue(${JSON.stringify(folder)})
    const store = await createMemoryStore(kv)
    const tokens = kv.plainKeys('tokens:')
    for (let i = 0; i < 200; i++) await tokens.set('token' + i, '1', { expiresAt: ${later} })
    await tokens.set('over soon', '1', { ttlMs: 1 })
    await store.ban('r1', '2', ${later})
    await store.ban('r1', '3', ${later})
    await store.unban('r1', '3')
    const values = kv.namespace('b')
    await values.set('k', 'kept')
    await values.set('gone', 'kept')
    await values.delete('gone')
    process.stdout.write('acknowledged')
    setInterval(() => {}, 1000)
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  t.equal(String((await once(child.stdout, 'data'))[0]), 'acknowledged')
  child.kill('SIGKILL')
  await once(child, 'exit')

  const { kv, store } = await storeIn(t, folder)
  const tokens = kv.plainKeys('tokens:')
  t.ok((await tokens.getMany(Array.from({ length: 200 }, (_, i) => `token${i}`))).every((value) => value === '1'))
  t.equal(await tokens.get('over soon'), undefined)
  await t.rejects(store.join(joining('r1', 2)), { code: 'BANNED', details: { until: later } })
  t.equal(await codeOf(store.join(joining('r1', 3))), 'ok')
  t.equal(await kv.namespace('b').get('k'), 'kept')
  t.same(await kv.namespace('b').list(), ['k'])
})

t.test('reports no other servers', async (t) => {
  const { store } = await storeIn(t, t.testdir())
  await store.join(joining('r1', 1))
  t.same(await store.listNodeRooms('any'), [])
  t.same(await store.replaceNodeMembers('any', { room: recordOf('r1'), members: [], documents: new Map() }), { joined: [], left: [], count: 1, documents: new Map() })
  t.same(await store.removeNodeMembers('any', 'r1'), { joined: [], left: [], count: 1 })
  t.match(await store.getRoom('r1'), { participantCount: 1 })
})

t.test('restores rooms without their members', async (t) => {
  const folder = t.testdir()
  const { store } = await storeIn(t, folder)
  await store.join(joining('r1', 1, { pinHash: 'hash' }))
  await store.join(joining('closed', 1))
  await store.removeRoom('closed')
  const change = async (name: string, durable: boolean, expected = '1000.0') => await store.swapDocument({ roomId: 'r1', name, expected, state: JSON.stringify(name), kept: durable ? JSON.stringify(name) : undefined })
  const { version } = await change('kept', true)
  await change('kept', true, version)
  await change('lost', false)

  const restartedAt = Date.now()
  const { store: restored } = await storeIn(t, folder)
  t.match(await restored.getRoom('r1'), { ...recordOf('r1', 1, true), participantCount: 0 })
  t.same((await restored.listRooms('', 10)).map(({ roomId }) => roomId), ['r1'])
  t.same(await restored.readDocuments(['r1', 'r1'], 'kept'), ['"kept"', '"kept"'])
  t.same(await restored.readDocuments(['r1'], 'lost'), [undefined])
  t.same(await restored.listEmptyRooms(restartedAt - 1, 10), [], 'the room has been empty since the restart')
  t.same(await restored.listEmptyRooms(Date.now() + 1000, 10), ['r1'])
  t.equal(await codeOf(restored.join(joining('r1', 2))), 'PIN_REQUIRED')
  const joined = await restored.join(joining('r1', 2, { pinHash: 'hash' }))
  t.match(joined, { created: false, count: 1, room: { ownerId: 1 } })
  t.match(await restored.swapDocument({ roomId: 'r1', name: 'kept', expected: joined.documents.get('kept')?.version ?? '', state: '1', kept: '1' }), { swapped: true }, 'versions continue')
})

t.test('writes only the persistent part of a document, and only if that part has changed', async (t) => {
  const folder = t.testdir()
  const { kv, store } = await storeIn(t, folder)
  const { room } = await store.join(joining('r1', 1))
  const saved = kv.namespace('rooms')
  const { set } = saved
  let writes = 0
  saved.set = async (...args) => { writes++; await set(...args) }
  let expected = `${room.createdAt}.0`
  for (const [state, kept] of [['1a', 'a'], ['2a', 'a'], ['3b', 'b'], ['4b', 'b'], ['5', undefined]]) {
    const { version } = await store.swapDocument({ roomId: 'r1', name: 'd', expected, state: JSON.stringify(state), kept: kept && JSON.stringify(kept) })
    expected = version
  }
  t.equal(writes, 2)
  t.same(await store.readDocuments(['r1'], 'd'), ['"5"'])
  const { store: restored } = await storeIn(t, folder)
  t.same(await restored.readDocuments(['r1'], 'd'), ['"b"'])
})

t.test('a room that cannot be saved is not created', async (t) => {
  const { kv, store } = await storeIn(t, t.testdir())
  await store.join(joining('r1', 1))
  const { version } = await store.swapDocument({ roomId: 'r1', name: 'd', expected: '1000.0', state: '1', kept: '1' })
  kv.namespace('rooms').set = async () => { throw Object.assign(new Error('disk full'), { code: 'UNAVAILABLE', statusCode: 503 }) }
  t.equal(await codeOf(store.join(joining('r2', 1))), 'UNAVAILABLE')
  t.equal(await store.getRoom('r2'), undefined)
  t.equal(await codeOf(store.swapDocument({ roomId: 'r1', name: 'd', expected: version, state: '2', kept: '2' })), 'UNAVAILABLE')
  t.same(await store.readDocuments(['r1'], 'd'), ['1'])
  t.equal(await codeOf(store.join(joining('r1', 2))), 'ok', 'existing rooms work')
})

t.test('a room that cannot be removed from the disk stays open', async (t) => {
  const { kv, store } = await storeIn(t, t.testdir())
  await store.join(joining('r1', 1))
  await store.leave('r1', 's-1', '1', 2000)
  const rooms = kv.namespace('rooms')
  const { delete: remove } = rooms
  rooms.delete = async () => { throw Object.assign(new Error('disk full'), { code: 'UNAVAILABLE', statusCode: 503 }) }
  t.equal(await codeOf(store.removeRoom('r1')), 'UNAVAILABLE')
  t.match(await store.getRoom('r1'), { ownerId: 1 })
  t.same(await store.listEmptyRooms(2000, 10), ['r1'])
  rooms.delete = remove
  t.match(await store.removeRoom('r1', true), { ownerId: 1 })
  t.same(await store.listEmptyRooms(2000, 10), [])
})

t.test('after a restart, users whose connection broke more than a minute ago cannot return to a locked room', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 5000 })
  t.teardown(() => mock.timers.reset())
  const folder = t.testdir()
  let kv = createMemoryKeyValue(folder)
  t.teardown(() => kv.close())
  const restart = async () => {
    kv.close()
    kv = createMemoryKeyValue(folder)
    return await createMemoryStore(kv, { now: () => Date.now() })
  }
  const store = await restart()
  for (const id of [1, 2, 3]) await store.join(joining('r1', id))
  const access = JSON.stringify({ admits: 'nobody' } satisfies RoomAccess)
  await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: '1000.0', state: access, kept: access })
  await store.leave('r1', 's-2', '2', Date.now(), true)
  mock.timers.tick(30_000)
  await store.leave('r1', 's-3', '3', Date.now(), true)
  mock.timers.tick(31_000)
  const second = await restart()
  t.equal(await codeOf(second.join(joining('r1', 2))), 'ROOM_LOCKED')
  mock.timers.tick(61_000)
  t.equal(await codeOf(second.join(joining('r1', 3))), 'ROOM_LOCKED')
  const third = await restart()
  for (const id of [1, 2, 3]) t.equal(await codeOf(third.join(joining('r1', id))), 'ROOM_LOCKED', `nobody has returned after the restart: user ${id}`)
})

for (const access of [{ admits: 'nobody' }, { admits: 'pin', pinHash: 'hash' }] satisfies RoomAccess[]) {
  t.test(`after a restart, the members can return to a locked room that admits ${access.admits}`, async (t) => {
    const folder = t.testdir()
    const { store } = await storeIn(t, folder)
    for (const id of [1, 2, 3]) await store.join(joining('r1', id))
    const state = JSON.stringify(access)
    await store.swapDocument({ roomId: 'r1', name: accessDocument, expected: '1000.0', state, kept: state })
    await store.leave('r1', 's-2', '2', Date.now())
    await store.leave('r1', 's-3', '3', Date.now(), true)
    await store.forbidReturn('r1', '3')
    await store.join(joining('r1', 5, { isHost: true }))
    await store.forbidReturn('r1', '5')
    const { store: restored } = await storeIn(t, folder)
    t.equal(await codeOf(restored.join(joining('r1', 1))), 'ok')
    for (const id of [2, 3, 4, 5]) t.match(await codeOf(restored.join(joining('r1', id))), /^(ROOM_LOCKED|PIN_REQUIRED)$/, `user ${id}`)
  })
}
