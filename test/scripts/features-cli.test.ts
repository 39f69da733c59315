import { join } from 'node:path'
import t from 'tap'
import { adminKey, build } from '../support/build.ts'
import { featureFolder, saying } from '../support/features.ts'
import { run } from './features-cli.ts'

t.test('lists and changes features from the command line', async (t) => {
  const folder = featureFolder(t)
  folder.write('base', { 'index.ts': saying('base', 'one') })
  folder.write('above', { 'index.ts': saying('above', 'one', { dependencies: ['base'] }) })
  const server = await build(t, { env: { FEATURES_PATH: folder.path } })
  const cwd = t.testdir({})
  const features = (...args: string[]) => run(cwd, [...args, '--url', `${server.url}/`], { ADMIN_API_KEY: `${adminKey}, another-one` })

  const { status, out } = await features('list')
  t.equal(status, 0)
  const [head = '', ...rows] = out.trimEnd().split('\n').map((line) => line.split(/ {2,}/))
  t.strictSame(head, ['NAME', 'STATE', 'GENERATION', 'VERSION', 'ERROR'])
  t.strictSame(rows.find(([name]) => name === 'base')?.slice(0, 3), ['base', 'enabled', '1'])
  t.strictSame(rows.find(([name]) => name === 'laravel-bridge')?.slice(0, 3), ['laravel-bridge', 'disabled', '-'])

  t.match(await features('disable', 'base'), { status: 1, err: /^FEATURE_IN_USE: .*above/, out: '' })
  t.strictSame(await features('disable', 'base', '--cascade'), { status: 0, out: 'base is disabled\n  also disabled: above\n', err: '' })
  t.match(await features('enable', 'above'), { status: 1, err: /^DEPENDENCY_DISABLED: .*base/ })
  t.match(await features('enable', 'above', '--cascade'), { status: 0, out: /^above is enabled, generation \d+\n {2}also enabled: base\n$/ })
  t.match(await features('reload', 'nothing'), { status: 1, err: 'FEATURE_NOT_FOUND' })

  folder.write('base', { 'index.ts': `${saying('base', 'two')}\nthrow new Error('not yet')\n` })
  const failed = await features('reload', 'base')
  t.equal(failed.status, 1)
  t.match(failed.err, /^FEATURE_LOAD_FAILED: .*not yet/)
  t.match(failed.err, `  at ${join(folder.path, 'base', 'index.ts')}:10\n`)
  t.match((await features('list')).out, /^base +enabled .*not yet/m, 'the list shows the error, too')
  folder.write('base', { 'index.ts': saying('base', 'two') })
  t.match(await features('reload', 'base'), { status: 0, out: /^base is enabled, generation \d+\n$/ })

  folder.write('late', { 'index.ts': saying('late', 'one') })
  folder.remove('above')
  t.strictSame(await features('rescan'), { status: 0, out: 'added    late\nremoved  above\n', err: '' })
  t.strictSame(await features('rescan'), { status: 0, out: 'No features were added or removed\n', err: '' })
  folder.write('wrong', { 'index.ts': 'throw new Error("no")\n' })
  t.match(await features('rescan'), { status: 1, out: /^failed {3}wrong: .*no/ })
})

t.test('changes settings', async (t) => {
  const server = await build(t, { env: { FEATURES: 'auth,chat,reactions' } })
  const cwd = t.testdir({})
  const features = (...args: string[]) => run(cwd, [...args, '--url', server.url, '--key', adminKey])
  const valueOf = (out: string, key: string) => out.split('\n').map((line) => line.split(/ {2,}/)).find(([name]) => name === key)?.[1]

  const shown = await features('config', 'reactions')
  t.match(shown, { status: 0, out: /^SETTING +VALUE +MEANING\n/ })
  t.equal(valueOf(shown.out, 'reactionsPerMinute'), '120')
  const changed = await features('config', 'reactions', 'reactionsPerMinute=7', 'emojis=["🦄"]')
  t.equal(changed.status, 0)
  t.equal(valueOf(changed.out, 'reactionsPerMinute'), '7')
  t.equal(valueOf(changed.out, 'emojis'), '["🦄"]')
  t.equal(valueOf((await features('config', 'reactions', 'reactionsPerMinute=null')).out, 'reactionsPerMinute'), '120')
  t.match(await features('config', 'reactions', 'reactionsPerMinute=many'), { status: 1, err: /^VALIDATION_FAILED: [^]*\n {2}reactionsPerMinute: / })
  t.strictSame(await features('config', 'reactions', 'nothing=1'), {
    status: 1,
    out: '',
    err: 'VALIDATION_FAILED: These settings are invalid\n  Unrecognized key: "nothing"\n  The settings and their values: npm run features -- config reactions\n'
  })
  t.match(await features('config', 'reactions', 'nothing'), { status: 1, err: 'nothing is not KEY=VALUE' })
  t.strictSame(await features('config', 'docs'), { status: 0, out: 'docs has no settings\n', err: '' })
  t.match(await features('config', 'nothing'), { status: 1, err: 'FEATURE_NOT_FOUND' })

  t.match(JSON.parse((await features('list', '--json')).out), { features: [{ name: 'auth', state: 'enabled' }] })
  t.match(JSON.parse((await features('config', 'reactions', '--json')).out), { name: 'reactions', config: { emojis: ['🦄'] } })
  t.equal((await features('disable', 'reactions')).status, 0)
  t.strictSame(await features('reload', 'reactions'), {
    status: 1,
    out: '',
    err: 'FEATURE_DISABLED: The feature reactions is turned off\n  To turn it on: npm run features -- enable reactions\n'
  })
  t.match(await run(cwd, ['list', '--url', server.url, '--key', 'x'.repeat(40)]), { status: 1, err: /^UNAUTHORIZED: The admin key is wrong/ })
  const refused = await features('disable', 'nothing', '--json')
  t.equal(refused.status, 1)
  t.match(JSON.parse(refused.out), { error: { code: 'FEATURE_NOT_FOUND' } })
})
