import type { Test } from 'tap'
import type { KeyValue } from '../../plugins/kv/kv.ts'
import { until } from '../support/retry.ts'

const later = () => Date.now() + 3_600_000

/**
 * Runs the tests that every key-value store must pass.
 *
 * @param make creates an empty store that is closed after the test
 */
export function keyValueContract (t: Test, make: (t: Test) => Promise<KeyValue>): void {
  t.test('keeps values per namespace and key', async (t) => {
    const kv = await make(t)
    const [b, c] = [kv.namespace('b'), kv.namespace('c')]
    t.equal(await b.get('k'), undefined)
    t.same(await b.list(), [])
    await b.set('k', 'one ä\n')
    await b.set('', 'no key')
    await c.set('k', 'elsewhere')
    t.equal(await b.get('k'), 'one ä\n')
    t.equal(await b.get(''), 'no key')
    t.equal(await c.get('k'), 'elsewhere')
    await b.set('k', 'two')
    t.equal(await b.get('k'), 'two')
    t.same((await b.list()).sort(), ['', 'k'])
    t.same(await b.getMany(['k', 'unknown', '', 'k']), ['two', undefined, 'no key', 'two'], 'one value per key')
    t.same(await b.getMany([]), [])
    t.equal(await b.delete('k'), true)
    t.equal(await b.delete('k'), false)
    t.equal(await b.get('k'), undefined)
    t.same(await b.list(), [''])
    t.same(await c.list(), ['k'])
    for (const key of ['__proto__', 'constructor', 'a b:c{d}']) {
      await b.set(key, key)
      t.equal(await b.get(key), key)
    }
    t.equal(kv.namespace('b'), b)
  })

  t.test('expires values', async (t) => {
    const values = (await make(t)).namespace('n')
    await values.set('a', '1', { expiresAt: later() })
    await values.set('brief', '2', { ttlMs: 200 })
    await values.set('over', '3', { expiresAt: Date.now() - 1 })
    await values.set('very long', '4', { expiresAt: 8.64e15 })
    t.same(await values.getMany(['a', 'over', 'very long']), ['1', undefined, '4'])
    await until(async () => await values.get('brief') === undefined)
    t.same((await values.list()).sort(), ['a', 'very long'])
    t.equal(await values.delete('brief'), false, 'an expired value does not exist')
    await values.set('brief', '5', { expiresAt: later() })
    t.equal(await values.get('brief'), '5')
  })

  t.test('a new value has its own expiry', async (t) => {
    const values = (await make(t)).namespace('n')
    await values.set('kept', '1', { ttlMs: 150 })
    await values.set('kept', '2')
    await values.set('brief', '1')
    await values.set('brief', '2', { ttlMs: 150 })
    await until(async () => await values.get('brief') === undefined)
    t.equal(await values.get('kept'), '2')
    t.same(await values.list(), ['kept'])
  })

  t.test('compares and sets', async (t) => {
    const values = (await make(t)).namespace('n')
    t.equal(await values.compareAndSet('k', 'x', 'one'), false)
    t.equal(await values.get('k'), undefined)
    t.equal(await values.compareAndSet('k', undefined, 'one'), true)
    t.equal(await values.compareAndSet('k', undefined, 'two'), false)
    t.equal(await values.compareAndSet('k', 'two', 'two'), false)
    t.equal(await values.compareAndSet('k', 'one', ''), true)
    t.equal(await values.compareAndSet('k', '', 'three', { ttlMs: 200 }), true, 'an empty value is a value')
    await until(async () => await values.get('k') === undefined)
    t.equal(await values.compareAndSet('k', 'three', 'four'), false, 'an expired value does not match')
    t.equal(await values.compareAndSet('k', undefined, 'four'), true)
    t.equal(await values.get('k'), 'four', 'the new value does not expire')
    t.same(await values.list(), ['k'])
  })

  t.test('only one of many concurrent compare-and-sets succeeds', async (t) => {
    const values = (await make(t)).namespace('n')
    let expected: string | undefined
    for (let round = 0; round < 5; round++) {
      const results = await Promise.all(Array.from({ length: 20 }, (_, i) => values.compareAndSet('k', expected, `${round} ${i}`)))
      t.equal(results.filter(Boolean).length, 1)
      expected = `${round} ${results.indexOf(true)}`
      t.equal(await values.get('k'), expected)
    }
  })

  t.test('reads and writes keys without a namespace', async (t) => {
    const keys = (await make(t)).plainKeys('other:system:')
    t.equal(await keys.get('a'), undefined)
    await keys.set('a', '1', { expiresAt: later() })
    await keys.set('b', '2')
    await keys.set('over', '3', { expiresAt: Date.now() - 1 })
    t.same(await keys.getMany(['b', 'a', 'over', 'c']), ['2', '1', undefined, undefined])
    t.equal(await keys.delete('a'), true)
    t.equal(await keys.delete('a'), false)
    await keys.set('b', '2', { ttlMs: 150 })
    await until(async () => await keys.get('b') === undefined)
  })
}
